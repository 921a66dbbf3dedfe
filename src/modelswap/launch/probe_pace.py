"""When a starting server is probed: soon after it printed something, else after a growing pause.

Most servers print a line when they are ready, so the probe that finds them ready comes at once. A silent
one is seen within a small share of the time that it took, and within 2 ms, or 20 ms if it listens already.
On another machine it is seen within 250 ms, as long as it does not listen.

Guarantees: a flood of output does not shorten a pause below the shortest. A server that answers that it is
loading, and prints a line for each such answer, is not probed ever more often by its own lines.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING, Final, NamedTuple

from modelswap.units import Seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from .fine_timer import Timer


class Bounds(NamedTuple):
    """The shortest pause, the longest of the first minute, and its share of the time waited so far."""

    shortest: Seconds
    longest: Seconds
    share: float


PAUSE_SHARE: Final = 0.01
"""Of the time waited so far: the longest pause of a refused probe is reached after 0.2 s, of an accepted
one after 2 s. Half of that finds nothing sooner than it takes processor time from the server."""
REFUSED: Final = Bounds(Seconds(0.0003), Seconds(0.002), PAUSE_SHARE)
"""Within this machine. A refused probe costs 0.08 ms: at the longest pause 4 % of one processor."""
ACCEPTED: Final = Bounds(Seconds(0.001), Seconds(0.02), PAUSE_SHARE)
"""A probe that is accepted costs both sides 0.3 ms together: at the longest pause 1.5 %. Nearly all servers
that listen while they load print a line when they are ready."""
REMOTE: Final = Bounds(Seconds(0.003), Seconds(0.25), 0.015)
"""Refused by another machine, or its name is not known: each probe costs the network or the resolver a
question. The longest pause, four a second, is reached after 17 s."""
LATE_SHARE: Final = 1 / 30_000
"""The same, where it is more than the longest pause: beyond a minute, or ten."""
SILENCE_SHARE: Final = 0.25
"""Of the time since the last output: a server that prints all the time gets some probes for each line."""
MAX_SIGNS: Final = 20
"""So many pieces of output in a row may end a pause of a server that listens, or is elsewhere; a start prints
fewer at its end."""
SIGNS_PER_SECOND: Final = 5.0
"""So many more each second; llama.cpp prints one or two while it loads 2 GB, a line for each probe would be up
to a thousand."""


def pause_after(waited: float, silent: float = inf, bounds: Bounds = REFUSED) -> Seconds:
    """Return the pause until the next probe, so many seconds after the first, and after the last output."""
    grown = max(min(waited * bounds.share, bounds.longest), waited * LATE_SHARE)
    return Seconds(max(min(grown, silent * SILENCE_SHARE), bounds.shortest))


class ProbePace:
    """The pauses between the probes of one server."""

    def __init__(self, clock: Callable[[], float], timer: Timer) -> None:
        self._clock = clock
        self._timer = timer
        self._began = clock()
        self._output_at = -inf
        self._pausing: asyncio.Future[None] | None = None
        self._bounds = REFUSED
        self._earliest = 0.0
        self._due = 0.0
        self._signs = float(MAX_SIGNS)
        self._signs_at = self._began

    def on_output(self) -> None:
        """Note that the server printed something."""
        now = self._clock()
        if self._bounds is not REFUSED and not self._takes_sign(now):
            return
        self._output_at = now
        if self._pausing is not None and self._due > max(now, self._earliest):
            self._end_at(self._pausing, max(now, self._earliest))

    async def pause(self, *, was_accepted: bool, is_local: bool = True) -> None:
        """Wait until the next probe; the last one was accepted, or refused within this machine or elsewhere."""
        now = self._clock()
        self._bounds = ACCEPTED if was_accepted else REFUSED if is_local else REMOTE
        self._earliest = now + self._bounds.shortest
        pausing = self._pausing = asyncio.Future()
        length = pause_after(now - self._began, now - self._output_at, self._bounds)
        self._end_at(pausing, now + length)
        try:
            await pausing
        finally:
            self._pausing = None
            self._timer.stop()

    def _takes_sign(self, now: float) -> bool:
        earned = (now - self._signs_at) * SIGNS_PER_SECOND
        self._signs, self._signs_at = min(self._signs + earned, MAX_SIGNS), now
        if self._signs < 1:
            return False
        self._signs -= 1
        return True

    def _end_at(self, pausing: asyncio.Future[None], due: float) -> None:
        self._due = due
        self._timer.start(due - self._clock(), lambda: _end(pausing))


def _end(pausing: asyncio.Future[None]) -> None:
    if not pausing.done():
        pausing.set_result(None)
