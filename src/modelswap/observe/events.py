"""The event stream of `/api/events`.

Guarantees: `publish` never waits, and costs next to nothing without subscribers. A subscriber that
reads too slowly loses events; a comment in its stream says so, and the current state follows. Every
event has an id: a subscriber that reconnects with its last id gets the events that it missed, while the
history holds them. The history begins with the first subscriber. A payload that is a function is
computed when it is sent: of such events only the newest one of a kind is sent again, as it is then.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Final

import msgspec

from modelswap.units import Bytes, Seconds

from .batcher import Batcher
from .bounded_stream import BoundedStream

HISTORY: Final = 1000
"""Events: some minutes of a busy server, which a reconnecting client may have missed."""
HISTORY_BYTES: Final = Bytes(1 << 20)  # of the events in the history: log lines can be long
QUEUE: Final = Bytes(1 << 20)  # waits for one slow subscriber; then it loses events
KEEP_ALIVE: Final = Seconds(15.0)
"""Between comments without events, so that no proxy closes the stream as idle."""
_USUAL_SIZE: Final = Bytes(256)
"""Estimate for an event that is not a log line; measuring each would cost an encoding."""
_SLACK: Final = 100
"""Events beyond `HISTORY` before it is shortened, so that not every event pays for it."""
LOG_PAUSE: Final = Seconds(0.03)
"""Log lines are gathered for so long before they are published as one event."""

NamedEvent = tuple[str, object]
"""Type and payload."""
CurrentState = Callable[[], Iterable[NamedEvent]]

_encode = msgspec.json.Encoder().encode


def frame(kind: str, payload: object, event_id: str = "") -> bytes:
    """Encode one event; its data is JSON in a JSON string, as llama-swap sends it."""
    if callable(payload):
        payload = payload()
    data = _encode({"type": kind, "data": _encode(payload).decode()})
    end = f"\nid:{event_id}\n\n".encode() if event_id else b"\n\n"
    return b"event:message\ndata:" + data + end


class EventSubscriber:
    """One reader of the stream: iterate over `frames`; `close` it when the client left."""

    def __init__(self, bus: EventBus, current_state: CurrentState, first: bytes) -> None:
        self._bus = bus
        self._current_state = current_state
        self._first = first
        self.stream = BoundedStream(QUEUE, self._resync)

    def _resync(self, missing: int) -> bytes:
        note = f": {missing} bytes of events dropped; the present state follows\n\n".encode()
        return note + self._bus.sequence(self._current_state())

    async def frames(self) -> AsyncIterator[bytes]:
        """Yield the current state or the missed events, then new events and keep-alive comments."""
        try:
            yield self._first
            while (data := await self.stream.take(KEEP_ALIVE)) is not None:
                yield data or b": keep-alive\n\n"
        finally:
            self.close()

    def close(self) -> None:
        self._bus.unsubscribe(self)


class EventBus:
    def __init__(self) -> None:
        self._epoch = os.urandom(4).hex()
        self._count = 0
        self._history: deque[tuple[int, str, object, int]] = deque()
        self._history_size = 0
        self._subscribers: list[EventSubscriber] = []
        self._logs: Batcher[tuple[str, bytes]] = Batcher(self._send_logs, LOG_PAUSE)
        self._closed = False
        self._had_subscriber = False
        """A client that was subscribed may reconnect with an id."""
        self.listening = False
        """Whether there are subscribers: producers may skip their work without."""

    @property
    def dropped(self) -> int:
        return sum(subscriber.stream.dropped for subscriber in self._subscribers)

    def publish(self, kind: str, payload: object, *, remember: bool = True) -> None:
        """Publish an event. `remember=False`: a later snapshot repairs its loss, so it is not replayed."""
        self._count = count = self._count + 1
        if remember and self._had_subscriber:
            history = self._history
            history.append((count, kind, payload, _USUAL_SIZE))
            self._history_size += _USUAL_SIZE
            if len(history) > HISTORY + _SLACK or self._history_size > HISTORY_BYTES:
                self._shorten_history()
        if self._subscribers:
            self._send(frame(kind, payload, self._id()))

    def publish_all(self, kind: str, payloads: Iterable[object]) -> None:
        if not self._had_subscriber:
            return
        if self._subscribers:
            for payload in payloads:
                self.publish(kind, payload)
            return
        first = self._count + 1
        events = [(n, kind, payload, _USUAL_SIZE) for n, payload in enumerate(payloads, first)]
        self._count += len(events)
        self._history += events
        self._history_size += _USUAL_SIZE * len(events)
        self._shorten_history()

    def log(self, source: str, data: bytes) -> None:
        """Publish log lines; those of one moment become one event."""
        if self._subscribers:
            self._logs.add((source, data))

    def _send_logs(self, logs: list[tuple[str, bytes]]) -> None:
        for source in ("proxy", "upstream"):
            if data := b"".join(piece for of, piece in logs if of == source):
                self._count += 1
                payload = {"data": data.decode("utf-8", "replace"), "source": source}
                self._history.append((self._count, "logData", payload, len(data)))
                self._history_size += len(data)
                self._shorten_history()
                self._send(frame("logData", payload, self._id()))

    def _id(self) -> str:
        return f"{self._epoch}-{self._count}"

    def _shorten_history(self) -> None:
        history = self._history
        while len(history) > HISTORY or self._history_size > HISTORY_BYTES:
            self._history_size -= history.popleft()[3]

    def _send(self, data: bytes) -> None:
        for subscriber in self._subscribers:
            subscriber.stream.put(data)

    def sequence(self, events: Iterable[NamedEvent]) -> bytes:
        """Encode several events; the last one carries the current id."""
        frames = [frame(kind, payload) for kind, payload in events]
        if frames:
            frames[-1] = frames[-1][:-1] + f"id:{self._id()}\n\n".encode()
        return b"".join(frames)

    def subscribe(self, current_state: CurrentState, last_id: str = "") -> EventSubscriber:
        """Add a subscriber; `current_state` makes its first events, also after a loss."""
        self._logs.flush()  # what waits is in the log history of the current state already
        missed = self._missed(last_id)
        subscriber = EventSubscriber(
            self, current_state, self.sequence(current_state()) if missed is None else missed
        )
        if self._closed:
            subscriber.stream.close()
        else:
            self._subscribers.append(subscriber)
            self.listening = self._had_subscriber = True
        return subscriber

    def _missed(self, last_id: str) -> bytes | None:
        epoch, _, count = last_id.partition("-")
        if epoch != self._epoch or not count.isdecimal() or len(count) > 18:  # noqa: PLR2004 -- fits an int
            return None
        last = int(count)
        if last > self._count or not self._history or self._history[0][0] > last + 1:
            return None
        newest = {kind: number for number, kind, payload, _ in self._history if callable(payload)}
        frames = [
            frame(kind, payload, f"{self._epoch}-{number}")
            for number, kind, payload, _ in self._history
            if number > last and newest.get(kind, number) == number
        ]
        return b"".join(frames) or b": nothing missed\n\n"

    def unsubscribe(self, subscriber: EventSubscriber) -> None:
        if subscriber in self._subscribers:
            self._subscribers.remove(subscriber)
            self.listening = bool(self._subscribers)

    def close(self) -> None:
        """End every stream."""
        self._closed = True
        self._logs.discard()
        for subscriber in self._subscribers:
            subscriber.stream.close()
