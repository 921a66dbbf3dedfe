"""The bounded queue of bytes in front of one live reader.

Guarantees: `put` never waits and never fails. What does not fit is dropped, and a note in the stream
says so where it is missing. Loop thread.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelswap.units import Bytes, Seconds


class BoundedStream:
    def __init__(self, limit: Bytes, note: Callable[[int], bytes]) -> None:
        """`note` makes the text for a number of dropped bytes."""
        self._limit = limit
        self._note = note
        self._items: list[bytes] = []
        self._size = 0
        self._missing = 0
        self._closed = False
        self._waiter: asyncio.Future[None] | None = None
        self.dropped = 0

    def put(self, data: bytes) -> None:
        if self._closed:
            return
        if self._size + len(data) > self._limit:
            self._missing += len(data)
            self.dropped += len(data)
            return
        self._items.append(data)
        self._size += len(data)
        self._wake()

    def close(self) -> None:
        """End the stream after what is already queued."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def take(self, within: Seconds | None = None) -> bytes | None:
        """Take everything that waits; `b""` when nothing came in time, `None` at the end."""
        while not self._items and not self._missing:
            if self._closed:
                return None
            if not await self._woken(within):
                return b""
        data = b"".join(self._items)
        self._items.clear()
        self._size = 0
        if self._missing:
            missing, self._missing = self._missing, 0
            data += self._note(missing)
        return data

    async def _woken(self, within: Seconds | None) -> bool:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(within):
                await self._waiter
        except TimeoutError:
            return False
        finally:
            self._waiter = None
        return True
