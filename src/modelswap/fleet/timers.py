"""The controller's timers on the loop's clock.

Guarantees: after a suspension of this process a timer waits again as long as it was late, because
the events of that time are still to be read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelswap.suspension import time_lost

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from modelswap.core.commands import TimerKey


class Timers:
    def __init__(
        self, loop: asyncio.AbstractEventLoop, on_timer: Callable[[TimerKey], None]
    ) -> None:
        self._loop = loop
        self._on_timer = on_timer
        self._handles: dict[TimerKey, asyncio.TimerHandle] = {}

    def set(self, key: TimerKey, at: float) -> None:
        """Call `on_timer` at *at*; replaces an earlier timer of the same key."""
        self.clear(key)
        self._handles[key] = self._loop.call_at(at, self._on_time, key, at)

    def clear(self, key: TimerKey) -> None:
        handle = self._handles.pop(key, None)
        if handle is not None:
            handle.cancel()

    def clear_all(self) -> None:
        for key in tuple(self._handles):
            self.clear(key)

    def _on_time(self, key: TimerKey, at: float) -> None:
        now = self._loop.time()
        lost = time_lost(at, now)
        if lost:
            self.set(key, now + lost)
            return
        del self._handles[key]
        self._on_timer(key)
