"""When a starting server is probed: soon after it printed something, else after a growing pause.

Most servers print a line when they are ready, so the probe that finds them ready comes at once. A silent
one is seen within a small share of the time that it took.

Guarantees: a flood of output does not shorten a pause below `MIN_PAUSE`.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import Final

from modelswap.units import Seconds

MIN_PAUSE: Final = Seconds(0.001)
"""The timers of the event loop count whole milliseconds; a refused probe costs about 0.05 ms."""
MAX_PAUSE: Final = Seconds(0.25)
"""Not noticeable after a load of minutes."""
PAUSE_SHARE: Final = 0.002
"""Of the time waited so far: the delay that a pause adds stays below 0.2 %."""
SILENCE_SHARE: Final = 0.25
"""Of the time since the last output: a server that prints all the time gets some probes for each line."""


def pause_after(waited: float, silent: float = inf) -> Seconds:
    """Return the pause until the next probe, so many seconds after the first, and after the last output."""
    return Seconds(
        min(max(min(waited * PAUSE_SHARE, silent * SILENCE_SHARE), MIN_PAUSE), MAX_PAUSE)
    )


class ProbePace:
    """The pauses between the probes of one server."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._began = loop.time()
        self._output_at = -inf
        self._pausing: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._earliest = 0.0
        self._due = 0.0

    def on_output(self) -> None:
        """Note that the server printed something."""
        self._output_at = self._loop.time()
        if self._pausing is not None and self._due > max(self._output_at, self._earliest):
            self._end_at(self._pausing, max(self._output_at, self._earliest))

    async def pause(self) -> None:
        """Wait until the next probe."""
        now = self._loop.time()
        self._earliest = now + MIN_PAUSE
        pausing = self._pausing = asyncio.Future()
        self._end_at(pausing, now + pause_after(now - self._began, now - self._output_at))
        try:
            await pausing
        finally:
            self._pausing = None
            if self._timer is not None:
                self._timer.cancel()

    def _end_at(self, pausing: asyncio.Future[None], due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        self._timer = self._loop.call_later(due - self._loop.time(), _end, pausing)


def _end(pausing: asyncio.Future[None]) -> None:
    if not pausing.done():
        pausing.set_result(None)
