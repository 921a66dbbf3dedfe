"""A coarse clock that looks after many deadlines at once.

Law: a deadline costs nothing while it is kept. Connections note `ticker.now`
(as old as one period at most) when something happens; one callback per period
compares. It refuses to be precise: a deadline is noticed up to two periods late.

Time in which we did not run (SIGSTOP, a suspended machine) is no time: what others
did in it lies unread in the sockets, and must be read before anybody is judged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelswap.suspension import time_lost

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

PERIOD = 0.25
"""Seconds between two looks."""


class DeadlineSweeper:
    """Calls `sweep(now)` every period for as long as it answers True."""

    __slots__ = ("_due", "_handle", "_loop", "_skipped", "_sweep", "now")

    def __init__(self, loop: asyncio.AbstractEventLoop, sweep: Callable[[float], bool]) -> None:
        self._loop = loop
        self._sweep = sweep
        self._handle: asyncio.TimerHandle | None = None
        self._skipped = 0.0
        self._due = 0.0
        self.now = loop.time()

    def wake(self) -> None:
        """Start ticking, unless it does."""
        if self._handle is None:
            self._look_later(self._loop.time())

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _tick(self) -> None:
        self._handle = None
        time = self._loop.time()
        self._skipped += time_lost(self._due, time)
        self.now = time - self._skipped
        if self._sweep(self.now) and self._handle is None:
            self._look_later(time)

    def _look_later(self, time: float) -> None:
        self.now = time - self._skipped
        self._due = time + PERIOD
        self._handle = self._loop.call_at(self._due, self._tick)
