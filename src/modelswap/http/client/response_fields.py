"""The fields that a proxy adds to a response, and those of the upstream that give way to them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from modelswap.http.message.documents import without_origin_wide, without_redirects
from modelswap.http.message.fields import status_line

if TYPE_CHECKING:
    from modelswap.http.message.head import ResponseHead

    from .upstream_request import UpstreamRequest

_REDIRECTION = 3
"""First digit of the status of a redirect."""
_ACCESS_CONTROL = re.compile(rb"(?im)^access-control-[^\r\n]*\r\n")
_EXPOSED = re.compile(rb"(?im)^access-control-expose-headers:[ \t]*([^\r\n]*?)[ \t]*\r\n")
_EXPOSES = b"Access-Control-Expose-Headers: "


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
