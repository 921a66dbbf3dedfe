"""What a control handler gets and what it answers.

Control routes (everything that does not go to a model) are small coroutines:
`async def handler(call: Call) -> Reply | Stream`. They never see a socket.
Model routes do not come this way: they are callbacks on the byte path
(`api.visit`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import msgspec

from modelswap.errors import ReplyError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from modelswap.api.auth.auth import Identity
    from modelswap.api.services import Services
    from modelswap.http import Request

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete answer."""

    status: int = 200
    body: bytes = b""
    content_type: str = JSON
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class StreamReply:
    """An answer without an end known now; its head goes out at once.

    The iterator is closed (`aclose`) when the client leaves or the server stops.
    """

    chunks: AsyncIterator[bytes]
    content_type: str = "text/event-stream"
    status: int = 200
    headers: Headers = ()


class Refusal(ReplyError):  # noqa: N818 - it is an answer, raised because it ends the handling
    """An answer in the error envelope: raise it anywhere in a control handler."""

    def __init__(
        self, status: int, message: str, code: str | None = None, headers: Headers = ()
    ) -> None:
        self.status = status
        super().__init__(message, code=code)
        self.headers = headers


@dataclass(kw_only=True)
class ControlRequest:
    """One control request, its body read."""

    request: Request
    services: Services
    identity: Identity
    params: Mapping[str, str] = field(default_factory=dict[str, str])
    """What the route's pattern matched: decoded path pieces by name."""
    body: bytes = b""

    @cached_property
    def query(self) -> Mapping[str, Sequence[str]]:
        """The query string, decoded; blank values kept."""
        return parse_qs(self.request.query, keep_blank_values=True)

    def arg(self, name: str) -> str | None:
        """Return the first non-blank value of a query parameter."""
        values = self.query.get(name)
        return values[0] if values and values[0] else None

    def header(self, name: str) -> str:
        """Return a request header's first value, `""` without one."""
        value = self.request.header(name.lower().encode())
        return "" if value is None else value.decode("latin-1")


Handler = Callable[[ControlRequest], Awaitable[Reply | StreamReply]]

_encode = msgspec.json.Encoder().encode


def as_json(value: Any, status: int = 200, *, newline: bool = True) -> Reply:
    """Encode *value* compactly; objects keep their order."""
    return Reply(status, _encode(value) + (b"\n" if newline else b""))


def as_text(text: str, status: int = 200) -> Reply:
    return Reply(status, text.encode(), TEXT)
