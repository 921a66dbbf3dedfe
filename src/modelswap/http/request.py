"""One request as the program sees it: its head, and who sent it.

Law: a request is read-only, and the same object may stand for several
requests of one connection that were equal byte for byte. It refuses to hold a
body: bodies belong to the exchange.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .fields import Field, forwardable

if TYPE_CHECKING:
    from .head import RequestHead


class Request:
    __slots__ = (
        "chunked",
        "client",
        "content_length",
        "expects",
        "has_body",
        "head",
        "headers",
        "index",
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
        self.head = head
        self.method = head.method
        self.target = head.target
        """As received."""
        self.path = head.path
        """Percent-encoding kept, without the query."""
        self.query = head.query
        self.headers = head.headers
        """As received: case, order and repetition kept."""
        self.index = head.index
        """Lower-case name → first value."""
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
        """Answered by a head with framing and a body."""
        self.memo: object = None
        """Whatever the handler wants to find again with an equal request."""

    def header(self, name: bytes) -> bytes | None:
        """First value of a header; `name` in lower case."""
        return self.index.get(name)

    def header_values(self, name: bytes) -> list[bytes]:
        """All values of a header, in order; `name` in lower case."""
        return [value for other, value in self.headers if other.lower() == name]

    def forward_headers(
        self, drop: frozenset[bytes], *, trust: bool, forwarded: bool, host: bytes | None
    ) -> list[Field]:
        """See `forward_headers`."""
        if host is not None:
            drop |= {b"host"}
        kept = forwardable(self.headers, self.head.connection, drop, forwarded=forwarded and trust)
        if host is not None:
            kept.insert(0, (b"Host", host))
        elif b"host" not in self.index:
            kept.insert(0, (b"Host", b"localhost"))
        if forwarded:
            before = self.header_values(b"x-forwarded-for") if trust else []
            kept.append(
                (b"X-Forwarded-For", b", ".join([*before, self.client.encode("ascii", "replace")]))
            )
        return kept


def forward_headers(
    request: Request,
    *,
    drop: frozenset[bytes] = frozenset(),
    trust_forwarded: bool,
    forwarded: bool = True,
    host: bytes | None = None,
) -> list[Field]:
    """A new list of the headers to send upstream; framing is added by `relay`.

    Hop-by-hop headers, those that `Connection` names and those in `drop` (lower
    case) are left out. `forwarded`: add `X-Forwarded-For`, to the one that came
    when `trust_forwarded`, else alone, and without the other `X-Forwarded-*`;
    False (peers) removes them all. `host` replaces the client's.
    """
    return request.forward_headers(drop, trust=trust_forwarded, forwarded=forwarded, host=host)
