"""Accounts for the request bodies in memory, of all connections and per client address."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelswap.http.transport.malloc_trim import malloc_trim
from modelswap.units import Bytes, Seconds

if TYPE_CHECKING:
    import asyncio

_TRIM_DELAY = Seconds(5)
"""After the last large body until its memory goes back to the system: the next one reuses it."""
_MAX_HELD = Bytes(2 << 30)
"""Of all bodies together, on a machine that also holds models; one address may use half of it."""
_LARGEST_BODIES = 8
"""Bodies of the largest allowed size that fit at least, whatever `_MAX_HELD` says."""


class BodyMemory:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._by_peer: dict[str, int] = {}
        self._trim: asyncio.TimerHandle | None = None
        self.held = 0
        """Bytes."""

    def hold(self, peer: str, count: int, largest: Bytes) -> bool:
        """False: it is too much. A body may have `largest` bytes."""
        allowed = max(_MAX_HELD, _LARGEST_BODIES * largest)
        of_peer = self._by_peer.get(peer, 0) + count
        if self.held + count > allowed or of_peer > allowed // 2:
            return False
        self.held += count
        self._by_peer[peer] = of_peer
        return True

    def free(self, peer: str, count: int) -> None:
        self.held -= count
        left = self._by_peer.pop(peer, 0) - count
        if left > 0:
            self._by_peer[peer] = left
        if not self.held and self._trim is None:
            self._trim = self._loop.call_later(_TRIM_DELAY, self._on_trim)

    def close(self) -> None:
        if self._trim is not None:
            self._trim.cancel()

    def _on_trim(self) -> None:
        self._trim = None
        if not self.held:
            malloc_trim()
