"""The controller's timers, on a clock that the test sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from modelswap.core.commands import TimerKey
from modelswap.core.models.lifecycle import Timer
from modelswap.core.spec import ModelId
from modelswap.fleet.timers import Timers

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

KEY = TimerKey(Timer.GRACE, ModelId("a"))


class ManualHandle:
    def __init__(self, at: float, call: Callable[[], None]) -> None:
        self.at = at
        self.call = call
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class ManualLoop:
    """Has a clock, and fires only when told to."""

    def __init__(self) -> None:
        self.now = 0.0
        self.handles: list[ManualHandle] = []

    def time(self) -> float:
        return self.now

    def call_at(self, at: float, call: Callable[..., None], *args: object) -> ManualHandle:
        self.handles.append(ManualHandle(at, lambda: call(*args)))
        return self.handles[-1]

    def fire(self, now: float) -> None:
        """Fire what is due at *now*."""
        self.now = now
        due = [one for one in self.handles if one.at <= now and not one.is_cancelled]
        self.handles = [one for one in self.handles if one not in due]
        for one in due:
            one.call()


def timers() -> tuple[Timers, ManualLoop, list[TimerKey]]:
    loop, fired = ManualLoop(), list[TimerKey]()
    return Timers(cast("asyncio.AbstractEventLoop", loop), fired.append), loop, fired


def test_a_timer_fires_once() -> None:
    """At its time, and a second setting replaces the first."""
    one, loop, fired = timers()
    one.set(KEY, 5)
    one.set(KEY, 7)
    loop.fire(6)
    assert fired == []
    loop.fire(7.1)
    loop.fire(9)
    assert fired == [KEY]


def test_a_cleared_timer() -> None:
    """It does not fire; to clear one that is not set does nothing."""
    one, loop, fired = timers()
    one.set(KEY, 5)
    one.clear(KEY)
    one.clear_all()
    loop.fire(6)
    assert fired == []


def test_suspended_time_is_given_back() -> None:
    """A timer that fires seconds too late waits as long again."""
    one, loop, fired = timers()
    one.set(KEY, 5)
    loop.fire(15)
    assert fired == []
    loop.fire(24.9)
    assert fired == []
    loop.fire(25.1)
    assert fired == [KEY]
