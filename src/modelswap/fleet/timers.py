"""The room's timers on the loop's clock.

A timer that comes much too late means that we did not run meanwhile (SIGSTOP, a
suspended machine): the news that it should have waited for is still to be read,
so it waits as long again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from modelswap.units import Seconds

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from modelswap.core.commands import TimerKey

FROZEN: Final = Seconds(1.0)


class Timers:
    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[TimerKey], None]) -> None:
        self._loop = loop
        self._ring = ring
        self._set: dict[TimerKey, asyncio.TimerHandle] = {}

    def set(self, key: TimerKey, at: float) -> None:
        """Ring at *at*; replaces an earlier one of the same key."""
        self.clear(key)
        self._set[key] = self._loop.call_at(at, self._on_time, key, at)

    def clear(self, key: TimerKey) -> None:
        timer = self._set.pop(key, None)
        if timer is not None:
            timer.cancel()

    def clear_all(self) -> None:
        for key in tuple(self._set):
            self.clear(key)

    def _on_time(self, key: TimerKey, at: float) -> None:
        now = self._loop.time()
        late = now - at
        if late > FROZEN:  # time in which we did not run is given back
            self.set(key, now + late)
            return
        del self._set[key]
        self._ring(key)
