"""A reader of requests without a socket: it is fed bytes, and what it finds is kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from modelswap.bounded_cache import BoundedCache
from modelswap.config.schema.schema_root import Limits
from modelswap.http.server.request_reader import RequestReader

if TYPE_CHECKING:
    from modelswap.http import Request
    from modelswap.http.message.head import RequestHead


@dataclass
class Clock:
    now: float = 0.0


@dataclass
class SharedState:
    limits: Limits = field(default_factory=Limits)
    sweeper: Clock = field(default_factory=Clock)
    heads: BoundedCache[bytes, RequestHead] = field(default_factory=lambda: BoundedCache(10))


class ReadRequests:
    """Owns a reader, takes every body whole, and begins the next request as soon as it may."""

    def __init__(self, *, takes_bodies: bool = True, **limits: float) -> None:
        self.context = SharedState(Limits(**limits))  # type: ignore[arg-type]  # plain numbers
        self.reader = RequestReader(self.context, self, self)
        self.requests: list[Request] = []
        self.bodies: list[bytes] = []
        self.refused: tuple[int, str] | None = None
        self.written = b""
        self.reading: list[str] = []
        self.fills_bodies = False
        self.charged = 0
        self.may_hold = True
        self._takes_bodies = takes_bodies

    def feed(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.reader.feed(piece)

    def next_request(self) -> None:
        """Go on behind the current request, as a connection does when its response is complete."""
        assert self.reader.discard_body()
        self.reader.feed = self.reader.read_head
        if waiting := self.reader.take_waiting():
            self.reader.feed(waiting)

    # As the owner

    def on_request(self, request: Request, ready: bytes | None) -> None:
        self.requests.append(request)
        if ready is not None:
            self.bodies.append(ready)
        elif self._takes_bodies:
            self.reader.read_body(self.bodies.append, None)

    def on_body_end(self) -> None:
        """A connection would go on here, if the response is complete."""

    def refuse(
        self, status: int, text: str, *, head: bytes = b"", request: Request | None = None
    ) -> None:
        del head, request
        self.refused = (status, text)
        self.reader.stop()

    def hold(self, count: int) -> bool:
        self.charged += count
        return self.may_hold

    def fill_bodies(self) -> None:
        self.fills_bodies = True

    # As the connection

    def write(self, data: bytes) -> None:
        self.written += data

    def pause_reading(self) -> None:
        self.reading.append("pause")

    def resume_reading(self) -> None:
        self.reading.append("resume")
