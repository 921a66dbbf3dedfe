"""A request as the upstream gets it, without body and framing, and what it changes in the response."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from modelswap.http.message.documents import without_origin_wide, without_redirects
from modelswap.http.message.fields import status_line, written
from modelswap.units import Bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from modelswap.http.message.fields import Field
    from modelswap.http.message.head import ResponseHead

JOIN_BELOW = Bytes(65536)
"""Bytes of a body: below this it is copied behind its head into one buffer; above, written in pieces."""
_REDIRECTION = 3
"""First digit of the status of a redirect."""
_ACCESS_CONTROL = re.compile(rb"(?im)^access-control-[^\r\n]*\r\n")
_EXPOSED = re.compile(rb"(?im)^access-control-expose-headers:[ \t]*([^\r\n]*?)[ \t]*\r\n")
_EXPOSES = b"Access-Control-Expose-Headers: "


class UpstreamRequest:
    __slots__ = (
        "block",
        "is_plain",
        "may_redirect",
        "method",
        "page_guard",
        "response_fields",
        "upgrade",
    )

    def __init__(
        self,
        method: str,
        target: bytes,
        headers: Sequence[Field],
        upgrade: bytes | None = None,
        response_fields: Sequence[Field] = (),
        *,
        page_guard: Sequence[Field] = (),
        may_redirect: Callable[[bytes], bool] | None = None,
    ) -> None:
        """`target` is path and query; `upgrade` the value of the client's `Upgrade`.

        `response_fields` replace the upstream's `Access-Control-*`. `page_guard` is added to a response
        that a browser could run as a page, instead of fields that concern the whole origin.
        `may_redirect` tells whether a `Location` may stay. ValueError for a header that is no line.
        """
        self.method = method
        self.upgrade = upgrade
        self.block = b"%b %b HTTP/1.1\r\n%b" % (method.encode("ascii"), target, written(headers))
        """Request line and headers, each with its CRLF."""
        self.response_fields = written(response_fields)
        self.page_guard = written(page_guard)
        self.may_redirect = may_redirect
        self.is_plain = method != "HEAD" and upgrade is None and not response_fields
        """The response has a body, and goes to the client as it is unless it is active."""


def block_with_fields(head: ResponseHead, request: UpstreamRequest) -> bytes | None:
    """The head's lines, without framing, as the request wants them; None: as they are."""
    guard = request.page_guard if head.is_active else b""
    may_redirect = request.may_redirect if head.is_active else None
    if not (request.response_fields or guard or may_redirect):
        return None
    block = without_origin_wide(head.block) + guard if guard else head.block
    if may_redirect is not None and head.status // 100 == _REDIRECTION:
        block = without_redirects(block, may_redirect)
    if request.response_fields:
        block = _with_access_control(block, request.response_fields)
    return block


def switching_block(head: ResponseHead, request: UpstreamRequest) -> bytes:
    """The whole head of a `101` for the client."""
    fields = head.block.partition(b"\r\n")[2]
    if request.page_guard:
        fields = without_origin_wide(fields)
    named = [value for name, value in head.headers if name.lower() == b"upgrade"]
    upgrade = named[0] if named else request.upgrade or b""
    return b"%b%bConnection: Upgrade\r\nUpgrade: %b\r\n\r\n" % (status_line(101), fields, upgrade)


def _with_access_control(block: bytes, fields: bytes) -> bytes:
    """Put our fields in place of the upstream's `Access-Control-*`, but keep what it exposes."""
    if _EXPOSES in fields and (lists := [one for one in _EXPOSED.findall(block) if one]):
        fields = fields.replace(_EXPOSES, b"%b%b, " % (_EXPOSES, b", ".join(lists)), 1)
    return _ACCESS_CONTROL.sub(b"", block) + fields
