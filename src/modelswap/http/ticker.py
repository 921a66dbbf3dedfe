"""A coarse clock that looks after many deadlines at once.

Law: a deadline costs nothing while it is kept. Connections note `ticker.now`
(as old as one period at most) when something happens; one callback per period
compares. It refuses to be precise: a deadline is noticed up to two periods late.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

PERIOD = 0.25
"""Seconds between two looks."""


class Ticker:
    """Calls `sweep(now)` every period for as long as it answers True."""

    __slots__ = ("_handle", "_loop", "_sweep", "now")

    def __init__(self, loop: asyncio.AbstractEventLoop, sweep: Callable[[float], bool]) -> None:
        self._loop = loop
        self._sweep = sweep
        self._handle: asyncio.TimerHandle | None = None
        self.now = loop.time()

    def wake(self) -> None:
        """Start ticking, unless it does."""
        if self._handle is None:
            self.now = self._loop.time()
            self._handle = self._loop.call_later(PERIOD, self._tick)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _tick(self) -> None:
        self._handle = None
        self.now = self._loop.time()
        if self._sweep(self.now) and self._handle is None:
            self._handle = self._loop.call_later(PERIOD, self._tick)
