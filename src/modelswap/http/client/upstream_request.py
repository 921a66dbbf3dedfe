"""A request as the upstream gets it, without body and framing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelswap.http.message.fields import written

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from modelswap.http.message.fields import Field


class UpstreamRequest:
    __slots__ = ("block", "may_redirect", "method", "page_guard", "response_fields", "upgrade")

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
