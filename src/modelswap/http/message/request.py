"""One request: its head, and the client that sent it; bodies belong to the exchange.

It is read-only: one object may stand for several requests of one connection that were equal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .fields import Field, forwardable
from .head_template import CONTENT_LENGTH, place_of_length, with_length

if TYPE_CHECKING:
    from .head import RequestHead


class Request:
    __slots__ = (
        "_digits",
        "_headers",
        "_index",
        "chunked",
        "client",
        "connection",
        "content_length",
        "expects",
        "has_body",
        "is_plain",
        "keep_alive",
        "memo",
        "method",
        "path",
        "query",
        "scheme",
        "target",
        "upgrade",
        "version",
    )

    def __init__(self, head: RequestHead, client: str, scheme: str) -> None:
        self.connection = head.connection
        """Lower-case tokens of `Connection`."""
        self.method = head.method
        self.target = head.target
        """As received."""
        self.path = head.path
        """Percent-encoding kept, without the query."""
        self.query = head.query
        self._headers = head.headers
        self._index = head.index
        self._digits = b""
        """The length, where `_headers` and `_index` have that of another request still."""
        self.version = head.version
        self.client = client
        self.scheme = scheme
        self.content_length = head.content_length
        self.chunked = head.chunked
        self.has_body = head.chunked or bool(head.content_length)
        self.upgrade = head.upgrade is not None
        self.expects = head.expects
        self.keep_alive = head.keep_alive
        self.is_plain = head.version == "1.1" and head.method != "HEAD"
        """The response is a head with framing and a body."""
        self.memo: object = None
        """Whatever the handler wants to find again with an equal request, or one that differs only in
        the length of its body."""

    def of_length(self, digits: bytes) -> Request:
        """The same request with another length, when this one has a length too; neither is 0."""
        it = Request.__new__(Request)
        it.connection = self.connection
        it.method = self.method
        it.target = self.target
        it.path = self.path
        it.query = self.query
        it._headers = self._headers  # noqa: SLF001 - its own class
        it._index = self._index  # noqa: SLF001
        it._digits = digits  # noqa: SLF001
        it.version = self.version
        it.client = self.client
        it.scheme = self.scheme
        it.content_length = int(digits)
        it.chunked = self.chunked
        it.has_body = self.has_body
        it.upgrade = self.upgrade
        it.expects = self.expects
        it.keep_alive = self.keep_alive
        it.is_plain = self.is_plain
        it.memo = self.memo
        return it

    @property
    def headers(self) -> tuple[Field, ...]:
        """As received: case, order and repetition kept."""
        if self._digits:
            self._put_length()
        return self._headers

    @property
    def index(self) -> dict[bytes, bytes]:
        """Lower-case name → first value."""
        if self._digits:
            self._put_length()
        return self._index

    def _put_length(self) -> None:
        """Only a few requests are asked for their headers."""
        digits, self._digits = self._digits, b""
        self._headers = with_length(self._headers, place_of_length(self._headers), digits)
        self._index = {**self._index, CONTENT_LENGTH: digits}

    def header(self, name: bytes) -> bytes | None:
        """First value of a header; `name` in lower case."""
        return self.index.get(name)

    def header_values(self, name: bytes) -> list[bytes]:
        """All values of a header, in order; `name` in lower case."""
        return [value for other, value in self.headers if other.lower() == name]


def forward_headers(
    request: Request,
    *,
    drop: frozenset[bytes] = frozenset(),
    trust_forwarded: bool,
    forwarded: bool = True,
    host: bytes | None = None,
) -> list[Field]:
    """A new list of the headers to send upstream, without framing and those in `drop` (lower case).

    `forwarded`: add `X-Forwarded-For`, to the one that came when `trust_forwarded`, else alone and
    without the other `X-Forwarded-*`; False (peers) removes them all. `host` replaces the client's.
    """
    if host is not None:
        drop |= {b"host"}
    trusted = forwarded and trust_forwarded
    kept = forwardable(request.headers, request.connection, drop, forwarded=trusted)
    if host is not None:
        kept.insert(0, (b"Host", host))
    elif b"host" not in request.index:
        kept.insert(0, (b"Host", b"localhost"))
    if forwarded:
        before = request.header_values(b"x-forwarded-for") if trusted else []
        client = request.client.encode("ascii", "replace")
        kept.append((b"X-Forwarded-For", b", ".join([*before, client])))
    return kept
