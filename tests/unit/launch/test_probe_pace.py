"""How long the pauses between probes are, and what ends one early."""

from __future__ import annotations

import asyncio
from math import inf
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from modelswap.launch.probe_pace import MAX_PAUSE, MIN_PAUSE, ProbePace, pause_after
from support.proxy_units import FakeLoop

LONG = 3600.0
"""Seconds of waiting after which each pause is the longest."""


@given(st.floats(0, 1e6), st.floats(0, 1e6) | st.just(inf))
def test_pauses_are_bounded(waited: float, silent: float) -> None:
    """Pauses lie between first and last, and grow with the wait and with the silence."""
    assert MIN_PAUSE <= pause_after(waited, silent) <= MAX_PAUSE
    assert pause_after(waited, silent) <= pause_after(waited + 1, silent)
    assert pause_after(waited, silent) <= pause_after(waited, silent + 1)


async def begin(pace: ProbePace) -> asyncio.Task[None]:
    task = asyncio.get_running_loop().create_task(pace.pause())
    await asyncio.sleep(0)
    return task


async def advance(loop: FakeLoop, seconds: float) -> None:
    """Move the clock, and let what has ended go on."""
    loop.advance(seconds)
    for _ in range(2):
        await asyncio.sleep(0)


def paced() -> tuple[FakeLoop, ProbePace]:
    """A server that is waited for for a long time already."""
    loop = FakeLoop()
    pace = ProbePace(cast("asyncio.AbstractEventLoop", loop))
    loop.advance(LONG)
    return loop, pace


async def test_a_silent_server_is_probed_after_the_pause() -> None:
    """Not earlier."""
    loop, pace = paced()
    task = await begin(pace)
    await advance(loop, MAX_PAUSE / 2)
    assert not task.done()
    await advance(loop, MAX_PAUSE)
    assert task.done()


async def test_output_ends_the_pause() -> None:
    """What a server prints may say that it is ready."""
    loop, pace = paced()
    task = await begin(pace)
    await advance(loop, MAX_PAUSE / 2)
    pace.on_output()
    await advance(loop, 0)
    assert task.done()


async def test_a_flood_of_output_leaves_the_shortest_pause() -> None:
    """Each line asks for a probe; they are not answered one by one."""
    loop, pace = paced()
    task = await begin(pace)
    for _ in range(3):
        pace.on_output()
        await advance(loop, MIN_PAUSE / 4)
        assert not task.done()
    await advance(loop, MIN_PAUSE)
    assert task.done()


async def test_after_output_the_pauses_grow_anew() -> None:
    """A server is ready some milliseconds after it has said so."""
    loop, pace = paced()
    pace.on_output()
    task = await begin(pace)
    await advance(loop, MIN_PAUSE)
    assert task.done()
    loop.advance(LONG)
    task = await begin(pace)
    await advance(loop, MIN_PAUSE)
    assert not task.done()
    task.cancel()


async def test_a_pause_that_is_cancelled_leaves_no_timer() -> None:
    """The server was stopped while it started."""
    loop, pace = paced()
    task = await begin(pace)
    task.cancel()
    await advance(loop, 0)
    assert task.cancelled()
    assert loop.waiting == []
    pace.on_output()
    assert loop.waiting == []
