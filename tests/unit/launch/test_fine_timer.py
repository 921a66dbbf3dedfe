"""The timer of the pauses between probes: that of Linux, and that of the event loop."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import pytest

from modelswap.launch.fine_timer import LoopTimer, TimerFd, open_timer

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelswap.launch.fine_timer import Timer

SHORT = 0.0003
"""Seconds: below what the timers of an event loop tell apart."""
LONG = 3600.0
"""Seconds that no test waits."""

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="timerfd is Linux's")
kinds = pytest.mark.parametrize("kind", [LoopTimer, pytest.param(TimerFd, marks=linux_only)])


async def ended(timer: Timer, delay: float) -> None:
    """Wait until the timer has ended."""
    waiting: asyncio.Future[None] = asyncio.Future()
    timer.start(delay, lambda: waiting.set_result(None))
    await waiting


@kinds
async def test_each_start_ends_once(kind: Callable[[asyncio.AbstractEventLoop], Timer]) -> None:
    """One after the other, also without a delay: a second end would be an error of the future."""
    timer = kind(asyncio.get_running_loop())
    for delay in (SHORT, 0.0, -1.0, SHORT):
        await ended(timer, delay)
    await asyncio.sleep(2 * SHORT)
    timer.stop()


@kinds
async def test_a_new_start_replaces_the_one_before(
    kind: Callable[[asyncio.AbstractEventLoop], Timer],
) -> None:
    """Output ends a pause early; the pause itself must not end a second time."""
    timer = kind(asyncio.get_running_loop())
    calls: list[str] = []
    timer.start(0.0, lambda: calls.append("replaced"))
    await ended(timer, SHORT)
    timer.start(LONG, lambda: calls.append("late"))
    await ended(timer, SHORT)
    assert calls == []


@kinds
async def test_a_stopped_timer_does_not_end(
    kind: Callable[[asyncio.AbstractEventLoop], Timer],
) -> None:
    """Not even when its time has come in the same turn of the loop."""
    timer = kind(asyncio.get_running_loop())
    calls: list[str] = []
    timer.start(0.0, lambda: calls.append("stopped"))
    timer.stop()
    await ended(kind(asyncio.get_running_loop()), SHORT)
    assert calls == []
    await ended(timer, SHORT)


@linux_only
async def test_linux_gives_its_own_timer_and_takes_it_back() -> None:
    """A descriptor for each start would run out."""
    loop = asyncio.get_running_loop()
    with open_timer(loop) as timer:
        assert isinstance(timer, TimerFd)
        fd = timer.fileno()
        timer.start(LONG, lambda: None)
    with open_timer(loop) as timer:
        assert isinstance(timer, TimerFd)
        assert timer.fileno() == fd


@pytest.mark.parametrize("missing", ["function", "descriptor"])
async def test_without_a_timerfd_the_loop_has_one(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On other systems, and where the kernel refuses it."""

    def refuse(*_: object) -> int:
        return -1

    found = None if missing == "function" else refuse
    monkeypatch.setattr("modelswap.launch.fine_timer.c_function", lambda _: found)
    with open_timer(asyncio.get_running_loop()) as timer:
        assert isinstance(timer, LoopTimer)
        await ended(timer, SHORT)
