"""Requests that wait a moment before they are decided: for a reading of the devices, or a prediction.

Guarantees: each is let go once, in the order in which they came as far as they wait for the same, and
after `MOMENT` at the latest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from modelswap.units import Seconds

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

MOMENT: Final = Seconds(1.0)
"""A reading takes milliseconds, a driver's first answer some hundred; a load takes longer than this."""


class EarlyRequests:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: list[tuple[Callable[[], bool], Callable[[], None]]] = []
        self._deadline: asyncio.TimerHandle | None = None

    def add(self, is_prepared: Callable[[], bool], then: Callable[[], None]) -> None:
        """Call *then* at the first `release` at which *is_prepared* holds."""
        self._waiting.append((is_prepared, then))
        if self._deadline is None:
            self._deadline = self._loop.call_later(MOMENT, self.release_all)

    def release(self) -> None:
        """Let go what is prepared now."""
        ready: list[Callable[[], None]] = []
        kept: list[tuple[Callable[[], bool], Callable[[], None]]] = []
        for is_prepared, then in self._waiting:
            if is_prepared():
                ready.append(then)
            else:
                kept.append((is_prepared, then))
        self._waiting = kept
        if not self._waiting:
            self._forget_deadline()
        for then in ready:
            then()

    def release_all(self) -> None:
        """Let go everything, prepared or not."""
        ready, self._waiting = self._waiting, []
        self._forget_deadline()
        for _, then in ready:
            then()

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
