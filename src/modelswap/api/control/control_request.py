"""What a handler of a control route gets and returns; it is a small coroutine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import field
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import msgspec

from modelswap.deferred import dataclass
from modelswap.errors import ReplyError

if TYPE_CHECKING:
    from modelswap.api.auth.identity import Identity
    from modelswap.api.services import Services
    from modelswap.http import Request

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete response."""

    status: int = 200
    body: bytes = b""
    content_type: str = JSON
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class StreamReply:
    """A response whose length is not known; its head is sent at once.

    The iterator is closed (`aclose`) when the client leaves or the server stops.
    """

    chunks: AsyncIterator[bytes]
    content_type: str = "text/event-stream"
    status: int = 200
    headers: Headers = ()


class ControlError(ReplyError):
    """Ends a handler with an error of any status and with headers of its own."""

    def __init__(
        self, status: int, message: str, code: str | None = None, headers: Headers = ()
    ) -> None:
        self.status = status
        super().__init__(message, code=code)
        self.headers = headers


@dataclass
class ControlRequest:
    http_request: Request
    services: Services
    identity: Identity
    params: Mapping[str, str] = field(default_factory=dict[str, str])
    """What the pattern of the route matched, by name; still percent-encoded."""
    body: bytes = b""

    @cached_property
    def query(self) -> Mapping[str, Sequence[str]]:
        """The query string, decoded; blank values kept."""
        return parse_qs(self.http_request.query, keep_blank_values=True)

    def arg(self, name: str) -> str | None:
        """Return the first non-blank value of a query parameter."""
        values = self.query.get(name)
        return values[0] if values and values[0] else None

    def header(self, name: str) -> str:
        """Return a request header's first value, `""` without one."""
        value = self.http_request.header(name.lower().encode())
        return "" if value is None else value.decode("latin-1")


Handler = Callable[[ControlRequest], Awaitable[Reply | StreamReply]]

_encode = msgspec.json.Encoder().encode


def as_json(value: Any, status: int = 200, *, newline: bool = True) -> Reply:
    return Reply(status, _encode(value) + (b"\n" if newline else b""))


def as_text(text: str, status: int = 200) -> Reply:
    return Reply(status, text.encode(), TEXT)
