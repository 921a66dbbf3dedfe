"""The event stream of `/api/events`.

Law: publishing costs next to nothing while nobody listens, and never waits. A
client that reads too slowly loses events, is told so, and gets the whole
present state again. Every event has an id; a client that comes back with the
last one gets what it missed, as long as that is remembered; nothing is before the
first client came.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Final

import msgspec

from modelswap.units import Seconds

from .batcher import Batcher
from .bounded_stream import BoundedStream

REMEMBERED: Final = 1000
REMEMBERED_BYTES: Final = 1 << 20
QUEUE: Final = 1 << 20
KEEP_ALIVE: Final = 15.0
_USUAL_SIZE: Final = 256
_SLACK: Final = 100
LOG_PAUSE: Final = Seconds(0.03)
"""Seconds that log lines are gathered before they go out as one event."""

Happening = tuple[str, object]
Initial = Callable[[], Iterable[Happening]]

_encode = msgspec.json.Encoder().encode


def frame(kind: str, payload: object, event_id: str = "") -> bytes:
    """One event as it goes over the wire; its data is JSON in a JSON string."""
    data = _encode({"type": kind, "data": _encode(payload).decode()})
    return (
        b"event:message\ndata:" + data + (f"\nid:{event_id}\n\n".encode() if event_id else b"\n\n")
    )


class EventSubscriber:
    """One reader of the stream. Iterate over it; `close` it when the reader left."""

    def __init__(self, bus: EventBus, initial: Initial, first: bytes) -> None:
        self._bus = bus
        self._initial = initial
        self._first = first
        self.stream = BoundedStream(QUEUE, self._resync)

    def _resync(self, missing: int) -> bytes:
        note = f": {missing} bytes of events dropped; the present state follows\n\n".encode()
        return note + self._bus.sequence(self._initial())

    async def frames(self) -> AsyncIterator[bytes]:
        """The present state or what was missed, then what happens, with keep-alive comments."""
        try:
            yield self._first
            while (data := await self.stream.take(KEEP_ALIVE)) is not None:
                yield data or b": keep-alive\n\n"
        finally:
            self.close()

    def close(self) -> None:
        self._bus.leave(self)


class EventBus:
    """Takes what happens to everyone who listens."""

    def __init__(self) -> None:
        self._epoch = secrets.token_hex(4)
        self._count = 0
        self._past: deque[tuple[int, str, object, int]] = deque()
        self._past_size = 0
        self._clients: list[EventSubscriber] = []
        self._logs: Batcher[tuple[str, bytes]] = Batcher(self._send_logs, LOG_PAUSE)
        self._closed = False
        self._is_known = False
        """Somebody has listened, and may come back with an id."""
        self.listening = False
        """Whether anybody reads: producers may skip their work when not."""

    @property
    def dropped(self) -> int:
        return sum(client.stream.dropped for client in self._clients)

    def publish(self, kind: str, payload: object, *, remember: bool = True) -> None:
        """Tell everyone. What is not remembered is not replayed: state that a snapshot repairs."""
        self._count = count = self._count + 1
        if remember and self._is_known:
            past = self._past
            past.append((count, kind, payload, _USUAL_SIZE))
            self._past_size += _USUAL_SIZE
            if len(past) > REMEMBERED + _SLACK or self._past_size > REMEMBERED_BYTES:
                self._forget()
        if self._clients:
            self._send(frame(kind, payload, self._id()))

    def publish_all(self, kind: str, payloads: Iterable[object]) -> None:
        """Tell everyone of several things of one kind."""
        if not self._is_known:
            return
        if self._clients:
            for payload in payloads:
                self.publish(kind, payload)
            return
        first = self._count + 1
        news = [(n, kind, payload, _USUAL_SIZE) for n, payload in enumerate(payloads, first)]
        self._count += len(news)
        self._past += news
        self._past_size += _USUAL_SIZE * len(news)
        self._forget()

    def log(self, source: str, data: bytes) -> None:
        """Tell of log lines; several within a moment become one event."""
        if self._clients:
            self._logs.add((source, data))

    def _send_logs(self, logs: list[tuple[str, bytes]]) -> None:
        for source in ("proxy", "upstream"):
            data = b"".join(piece for of, piece in logs if of == source)
            if data:
                self._count += 1
                payload = {"data": data.decode("utf-8", "replace"), "source": source}
                self._remember("logData", payload, len(data))
                self._send(frame("logData", payload, self._id()))

    def _id(self) -> str:
        return f"{self._epoch}-{self._count}"

    def _remember(self, kind: str, payload: object, size: int) -> None:
        self._past.append((self._count, kind, payload, size))
        self._past_size += size
        self._forget()

    def _forget(self) -> None:
        past = self._past
        while len(past) > REMEMBERED or self._past_size > REMEMBERED_BYTES:
            self._past_size -= past.popleft()[3]

    def _send(self, data: bytes) -> None:
        for client in self._clients:
            client.stream.put(data)

    def sequence(self, happenings: Iterable[Happening]) -> bytes:
        """Several events in one piece; the last carries the id reached."""
        frames = [frame(kind, payload) for kind, payload in happenings]
        if frames:
            frames[-1] = frames[-1][:-1] + f"id:{self._id()}\n\n".encode()
        return b"".join(frames)

    def subscribe(self, initial: Initial, last_id: str = "") -> EventSubscriber:
        """Let a client in; `initial` composes the present state, now and after a loss."""
        self._logs.flush()  # what waits is in the initial history already
        missed = self._missed(last_id)
        client = EventSubscriber(
            self, initial, self.sequence(initial()) if missed is None else missed
        )
        if self._closed:
            client.stream.close()
        else:
            self._clients.append(client)
            self.listening = self._is_known = True
        return client

    def _missed(self, last_id: str) -> bytes | None:
        epoch, _, count = last_id.partition("-")
        if epoch != self._epoch or not count.isdecimal() or len(count) > 18:  # noqa: PLR2004 -- fits an int
            return None
        last = int(count)
        if last > self._count or not self._past or self._past[0][0] > last + 1:
            return None
        frames = [
            frame(kind, payload, f"{self._epoch}-{number}")
            for number, kind, payload, _ in self._past
            if number > last
        ]
        return b"".join(frames) or b": nothing missed\n\n"

    def leave(self, client: EventSubscriber) -> None:
        if client in self._clients:
            self._clients.remove(client)
            self.listening = bool(self._clients)

    def close(self) -> None:
        """End every stream."""
        self._closed = True
        self._logs.discard()
        for client in self._clients:
            client.stream.close()
