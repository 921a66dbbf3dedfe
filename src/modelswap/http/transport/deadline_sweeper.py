"""A coarse clock that checks many deadlines at once, up to two periods late.

Connections note `now` when something happens; one callback per period compares. Time in which this
process did not run (SIGSTOP, a suspended machine) does not count: what others did in it lies unread
in the sockets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelswap.suspension import time_lost
from modelswap.units import Seconds

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

PERIOD = Seconds(0.25)
"""Between two sweeps: precise enough for deadlines of seconds, and 4,096 connections take 1 ms each."""


class DeadlineSweeper:
    """Calls `sweep(now)` every period for as long as it returns True."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sweep: Callable[[float], bool]) -> None:
        self._loop = loop
        self._sweep = sweep
        self._handle: asyncio.TimerHandle | None = None
        self._skipped = 0.0
        self._due = 0.0
        self.now = loop.time()

    def wake(self) -> None:
        if self._handle is None:
            self._schedule(self._loop.time())

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _on_period(self) -> None:
        self._handle = None
        time = self._loop.time()
        self._skipped += time_lost(self._due, time)
        self.now = time - self._skipped
        if self._sweep(self.now) and self._handle is None:
            self._schedule(time)

    def _schedule(self, time: float) -> None:
        self.now = time - self._skipped
        self._due = time + PERIOD
        self._handle = self._loop.call_at(self._due, self._on_period)
