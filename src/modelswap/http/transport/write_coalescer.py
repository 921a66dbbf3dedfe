"""Holds small writes back, at most for one iteration of the loop, until it has read what is there.

The order of writes stays. A write wakes the process at the other end, which costs more than the write:
a hundred writes in a row wake it once. Before the end of a connection, `flush`.
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
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[tuple[asyncio.Transport, bytes]] = deque()

    def write(self, transport: asyncio.Transport, data: bytes) -> None:
        waiting = self._waiting
        if len(data) >= LARGE:
            self.flush()
            transport.write(data)
            return
        if not waiting:
            self._loop.call_soon(self.flush)
        waiting.append((transport, data))

    def flush(self) -> None:
        waiting = self._waiting
        while waiting:
            transport, data = waiting.popleft()
            if not transport.is_closing():
                transport.write(data)
