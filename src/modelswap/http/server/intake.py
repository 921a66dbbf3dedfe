"""The body of one request on its way in.

It is counted before it is kept, and joined once. A large body of known length that is collected whole
goes into memory of its own.
Memory: `MAX_UNASKED` bytes (and one read) until the body is asked for.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from modelswap.http.body.body_buffer import MAX_SIZE, MIN_SIZE, BodyBuffer
from modelswap.http.message.chunked import ChunkError, ChunkReader
from modelswap.units import Bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelswap.http.body.protocols import BodySink
    from modelswap.http.message.request import Request

MAX_UNASKED = Bytes(64 << 10)
"""Bytes that are held of a body that is not asked for: enough to read ahead, little for each of many."""
SMALL = Bytes(4096)
"""Shorter pieces are gathered, because each would cost an object of its own."""
GATHERED = Bytes(64 << 10)
"""Bytes of gathered pieces that become one: as much as one read brings."""
_MIN_BEGUN = Bytes(16 << 10)
"""Bytes that must have come before memory for the rest is reserved: a length alone is cheap to claim."""
_UNKNOWN = Bytes(1 << 62)
"""Bytes left of a body that does not say its length: more than any limit."""


class BodyIntake:
    def __init__(self, request: Request, limit: int, now: float) -> None:
        self._chunks = ChunkReader() if request.chunked else None
        self.left = _UNKNOWN if request.chunked else (request.content_length or 0)
        self._limit = limit
        self._parts: list[bytes | memoryview] = []
        self._small = bytearray()
        self._buffer: BodyBuffer | None = None
        """Holds a large body instead of the parts."""
        self._done: Callable[[bytes], None] | None = None
        self._sink: BodySink | None = None
        self._discarding = False
        self._span_start = 0
        self.received = 0
        self.complete = False
        self.expected = False
        """The body was asked for: the client's deadlines run."""
        self.over_limit = False
        self.paused = False
        self.last = now
        self.span_since = now

    @property
    def consumed(self) -> bool:
        return self._done is not None or self._sink is not None or self._discarding

    @property
    def is_kept(self) -> bool:
        return self._sink is None and not self._discarding

    @property
    def must_wait(self) -> bool:
        return not self.consumed and self.received > MAX_UNASKED

    def exceeds(self, limit: int) -> bool:
        """Set a lower limit; True: it is passed."""
        self._limit = min(self._limit, limit)
        return self.received > self._limit or (
            self._chunks is None and self.received + self.left > limit
        )

    def feed(self, data: bytes) -> bytes:
        """Return what is behind the body. Raise ChunkError."""
        rest = b""
        if self._chunks is None:
            extra = len(data) - self.left
            if extra > 0:
                data, rest = data[: self.left], data[self.left :]
            self.left -= len(data)
            self.complete = not self.left
            self._take(data)
            return rest
        pieces = self._chunks.feed(data)
        if pieces:  # one piece of them: a chunk of two bytes must not cost fifty
            self._take(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if self._chunks.error:
            raise ChunkError(self._chunks.error)
        if self._chunks.done:
            self.complete = True
            rest = self._chunks.rest
        return rest

    def begin(self, data: bytes, start: int) -> bytes:
        count = len(data) - start
        if self._chunks is not None or count > self.left or count < SMALL:
            return self.feed(data[start:])
        # The body is not asked for yet, so it will be copied: once is enough.
        self._count(count)
        self._parts.append(memoryview(data)[start:])
        return b""

    def _count(self, count: int) -> None:
        self.received += count
        self.left -= count
        self.complete = not self.left

    def unfilled(self) -> memoryview | None:
        buffer = self._buffer
        return None if buffer is None or not self.left else buffer.unfilled()

    def on_filled(self, count: int) -> None:
        if self._buffer is not None:
            self._buffer.add(count)
        self._count(count)

    def _may_have_buffer(self) -> bool:
        return (
            self._done is not None
            and self._chunks is None
            and self.received >= _MIN_BEGUN
            and MIN_SIZE <= self.received + self.left <= MAX_SIZE
        )

    def _open_buffer(self) -> None:
        """Reserve memory for the whole body, and move what is held there; without it, gather on."""
        with suppress(MemoryError):
            buffer = BodyBuffer(self.received + self.left)
            for part in self._held():
                buffer.take(part)
            self._buffer = buffer

    def _take(self, data: bytes) -> None:
        self.received += len(data)
        if self.received > self._limit and not self._discarding:
            self.over_limit = True
            self._held()
        elif self._sink is not None:
            self._sink.on_data(data)
        elif not self._discarding:
            self._keep(data)

    def _keep(self, data: bytes) -> None:
        if self._buffer is None and self._may_have_buffer():
            self._open_buffer()
        if self._buffer is not None:
            self._buffer.take(data)
            return
        if len(data) >= SMALL and not self._small:
            self._parts.append(data)
            return
        self._small += data
        if len(self._small) >= GATHERED:
            self._parts.append(bytes(self._small))
            self._small.clear()

    def _held(self) -> list[bytes | memoryview]:
        parts, self._parts = self._parts, []
        if self._small:
            parts.append(bytes(self._small))
            self._small.clear()
        return parts

    def collect(self, done: Callable[[bytes], None]) -> None:
        self._done = done
        if self._may_have_buffer():
            self._open_buffer()

    def stream(self, sink: BodySink) -> None:
        """Give the body to `sink` from now on, and what is held at once."""
        self._sink = sink
        for part in self._held():
            sink.on_data(part if isinstance(part, bytes) else bytes(part))

    def discard(self) -> None:
        self._discarding = True
        self._held()
        self._sink = self._done = self._buffer = None

    def finish(self) -> None:
        if self._sink is not None:
            self._sink.on_end()
        elif self._done is not None:
            buffer, self._buffer = self._buffer, None
            self._done(b"".join(self._held()) if buffer is None else buffer.whole())

    def too_slow(self, now: float, timeout: float, min_rate: float) -> bool:
        """Whether the client stood still for `timeout`, or sent less than `min_rate` over such a span."""
        if self.complete or not (self.expected or self._discarding):
            return False
        if self.paused:
            self.last = self.span_since = now
            self._span_start = self.received
            return False
        if now - self.last > timeout:
            return True
        if now - self.span_since < timeout:
            return False
        slow = self.received - self._span_start < min_rate * timeout
        self.span_since = now
        self._span_start = self.received
        return slow
