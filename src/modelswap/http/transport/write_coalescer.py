"""Holds small writes back until the loop has read what is there.

Guarantees: the order of writes stays; nothing waits longer than the callbacks of one iteration of the
loop.
Does not: hold back large writes, or anything before an end of a connection (`flush` first).

A write to a socket wakes the process at its other end, and a wake-up costs more than the write: a
hundred writes in a row wake it once.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from modelswap.units import Bytes

if TYPE_CHECKING:
    import asyncio

LARGE = Bytes(64 << 10)
"""From this size on a write is not held back, because it costs more than a wake-up."""


class WriteCoalescer:
    __slots__ = ("_loop", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[tuple[asyncio.Transport, bytes]] = deque()

    def write(self, transport: asyncio.Transport, data: bytes) -> None:
        """Write soon; at once when it is much."""
        waiting = self._waiting
        if len(data) >= LARGE:
            self.flush()
            transport.write(data)
            return
        if not waiting:
            self._loop.call_soon(self.flush)
        waiting.append((transport, data))

    def flush(self) -> None:
        """Write what waits."""
        waiting = self._waiting
        while waiting:
            transport, data = waiting.popleft()
            if not transport.is_closing():
                transport.write(data)
