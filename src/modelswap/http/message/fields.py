"""Header fields: which pass a proxy, and how they are written.

Guarantees: what belongs to one connection stays on it; framing is always made anew. No name or value
starts another line.
"""

from __future__ import annotations

from http import HTTPStatus
from time import gmtime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Field = tuple[bytes, bytes]

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"content-length",
        b"expect",
    }
)
"""Beside RFC 9110's: the framing, and `Expect`, which the server handles itself."""

_ESSENTIAL = frozenset(
    {b"host", b"content-type", b"content-encoding", b"authorization", b"x-api-key", b"api-key"}
)
"""Not to be removed by naming them in `Connection`: that would change what a request means."""

_FORWARDED = frozenset(
    {b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip"}
)

_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode("ascii")
    for status in HTTPStatus
}


_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def http_date(wall: float) -> bytes:
    """Write seconds since 1970 as RFC 9110 asks; `email.utils` would cost a megabyte to import."""
    t = gmtime(wall)
    day = f"{_DAYS[t.tm_wday]}, {t.tm_mday:02} {_MONTHS[t.tm_mon - 1]} {t.tm_year}"
    return f"{day} {t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02} GMT".encode("ascii")


def tokens_of(values: Iterable[bytes]) -> frozenset[bytes]:
    """Lower-case members of comma-separated lists."""
    return frozenset(
        token
        for value in values
        for part in value.split(b",")
        if (token := part.strip(b" \t").lower())
    )


def status_line(status: int) -> bytes:
    return _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status


def written(headers: Sequence[Field]) -> bytes:
    """The fields as lines; raise ValueError for one that would break out of its line."""
    block = b"".join([b"%b: %b\r\n" % header for header in headers])
    count = len(headers)
    if block.count(b"\n") != count or block.count(b"\r") != count or b"\0" in block:
        raise ValueError("line ends or NUL in a header")
    return block


def client_block(
    line: bytes, fields: Sequence[Field], connection: frozenset[bytes], *, event_stream: bool
) -> bytes:
    """A response's head without framing; event streams tell other proxies not to hold them back."""
    dropped = (HOP_BY_HOP | connection) - _ESSENTIAL
    kept = [field for field in fields if field[0].lower() not in dropped]
    names = {name.lower() for name, _ in kept}
    if event_stream:
        if b"x-accel-buffering" not in names:
            kept.append((b"X-Accel-Buffering", b"no"))
        if b"cache-control" not in names:
            kept.append((b"Cache-Control", b"no-cache"))
    return b"HTTP/1.1 " + line + b"\r\n" + b"".join([b"%b: %b\r\n" % field for field in kept])


def forwardable(
    headers: Sequence[Field],
    connection: frozenset[bytes],
    drop: frozenset[bytes],
    *,
    forwarded: bool,
) -> list[Field]:
    """A request's headers without those of the connection and those in `drop` (lower case).

    Without `forwarded`, all that tell of other proxies go; `X-Forwarded-For` always does.
    """
    dropped = ((HOP_BY_HOP | connection) - _ESSENTIAL) | drop | {b"x-forwarded-for"}
    if not forwarded:
        dropped |= _FORWARDED
    kept = [field for field in headers if field[0].lower() not in dropped]
    if any(name.lower() == b"te" and b"trailers" in value.lower() for name, value in headers):
        kept.append((b"TE", b"trailers"))
    return kept
