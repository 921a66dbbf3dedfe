"""Holds small writes back, at most for one iteration of the loop, until it has read what is there.

The order of writes stays. A write wakes the process at the other end, which costs more than the write:
a hundred writes in a row wake it once. Where writes are alone, holding them back gains nothing and costs
an iteration: then they go out at once. Before the end of a connection, `flush`.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from modelswap.units import Bytes

if TYPE_CHECKING:
    import asyncio

LARGE = Bytes(64 << 10)
"""From this size on a write is not held back, because it costs more than a wake-up."""
_LONE = 8
"""Writes that were alone, one after the other: then the next are likely to be, too."""
_AT_ONCE = 64
"""Writes between two that are held back to see: so its price, 1 µs, is spread over many."""


class WriteCoalescer:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[tuple[asyncio.Transport, bytes]] = deque()
        self._lone = 0
        """Flushes in a row that found one write."""
        self.at_once = 0
        """So many writes may go out at once: those before were alone in their iteration.

        Who writes takes one off. The next is held back again, to see whether it is alone.
        """

    def write(self, transport: asyncio.Transport, data: bytes) -> None:
        if self.at_once:
            self.at_once -= 1
            if not transport.is_closing():
                transport.write(data)
            return
        waiting = self._waiting
        if len(data) >= LARGE:
            self.flush()
            transport.write(data)
            return
        if not waiting:
            self._loop.call_soon(self._on_iteration_end)
        waiting.append((transport, data))

    def _on_iteration_end(self) -> None:
        count = len(self._waiting)
        self.flush()
        if count:
            self._lone = self._lone + 1 if count == 1 else 0
        if self._lone >= _LONE:
            self.at_once = _AT_ONCE

    def flush(self) -> None:
        waiting = self._waiting
        while waiting:
            transport, data = waiting.popleft()
            if not transport.is_closing():
                transport.write(data)
