"""How long the pauses between probes are, and what ends one early."""

from __future__ import annotations

import asyncio
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelswap.launch.fine_timer import LoopTimer
from modelswap.launch.probe_pace import (
    ACCEPTED,
    MAX_SIGNS,
    REFUSED,
    REMOTE,
    Bounds,
    ProbePace,
    pause_after,
)
from support.proxy_units import FakeLoop

LONG = 3600.0
"""Seconds of waiting after which each pause is long."""
MINUTE = 60.0
bounds = pytest.mark.parametrize("bounds", [REFUSED, ACCEPTED, REMOTE])


@given(
    st.floats(0, 1e6),
    st.floats(0, 1e6) | st.just(inf),
    st.sampled_from([REFUSED, ACCEPTED, REMOTE]),
)
def test_pauses_grow(waited: float, silent: float, bounds: Bounds) -> None:
    """With the wait and with the silence, from the shortest on."""
    pause = pause_after(waited, silent, bounds)
    assert bounds.shortest <= pause
    assert pause <= pause_after(waited + 1, silent, bounds)
    assert pause <= pause_after(waited, silent + 1, bounds)


@given(st.floats(0, MINUTE), st.floats(0, 1e6) | st.just(inf))
def test_a_load_of_a_minute_is_seen_within_the_longest_pause(waited: float, silent: float) -> None:
    """2 ms where nothing listens yet, 20 ms where something does, 250 ms elsewhere; printed lines are seen at once."""
    assert pause_after(waited, silent, REFUSED) <= 0.002
    assert pause_after(waited, silent, ACCEPTED) <= 0.02
    assert pause_after(waited, silent, REMOTE) <= 0.25


def test_the_sequence_of_pauses() -> None:
    """It begins below a millisecond; milliseconds follow after a few looks, and tens after minutes."""
    at = (0.0, 0.01, 0.025, 0.05, 0.1, 1.0, MINUTE, LONG)
    refused = [round(1000 * pause_after(waited, inf, REFUSED), 2) for waited in at]
    accepted = [round(1000 * pause_after(waited, inf, ACCEPTED), 2) for waited in at]
    remote = [round(1000 * pause_after(waited, inf, REMOTE), 2) for waited in at]
    assert remote == [3.0, 3.0, 3.0, 3.0, 3.0, 15.0, 250.0, 250.0]
    assert refused == [0.3, 0.3, 0.3, 0.5, 1.0, 2.0, 2.0, 120.0]
    assert accepted == [1.0, 1.0, 1.0, 1.0, 1.0, 10.0, 20.0, 120.0]


async def begin(pace: ProbePace, bounds: Bounds = REFUSED) -> asyncio.Task[None]:
    pause = pace.pause(was_accepted=bounds is ACCEPTED, is_local=bounds is REFUSED)
    task = asyncio.get_running_loop().create_task(pause)
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
    pace = ProbePace(loop.time, LoopTimer(loop))  # type: ignore[arg-type]  # all that it uses
    loop.advance(LONG)
    return loop, pace


@bounds
async def test_a_silent_server_is_probed_after_the_pause(bounds: Bounds) -> None:
    """Not earlier."""
    loop, pace = paced()
    length = pause_after(LONG, inf, bounds)
    task = await begin(pace, bounds)
    await advance(loop, length * 0.9)
    assert not task.done()
    await advance(loop, length * 0.2)
    assert task.done()


@bounds
async def test_output_ends_the_pause(bounds: Bounds) -> None:
    """What a server prints may say that it is ready."""
    loop, pace = paced()
    task = await begin(pace, bounds)
    await advance(loop, pause_after(LONG, inf, bounds) / 2)
    assert not task.done()
    pace.on_output()
    await advance(loop, 0)
    assert task.done()


@bounds
async def test_a_flood_of_output_leaves_the_shortest_pause(bounds: Bounds) -> None:
    """Each line asks for a probe; they are not answered one by one."""
    loop, pace = paced()
    shortest = bounds.shortest
    task = await begin(pace, bounds)
    for _ in range(3):
        pace.on_output()
        await advance(loop, shortest / 4)
        assert not task.done()
    await advance(loop, shortest)
    assert task.done()


async def test_after_output_the_pauses_grow_anew() -> None:
    """A server is ready some milliseconds after it has said so."""
    loop, pace = paced()
    pace.on_output()
    task = await begin(pace)
    await advance(loop, REFUSED.shortest)
    assert task.done()
    loop.advance(LONG)
    task = await begin(pace)
    await advance(loop, REFUSED.shortest)
    assert not task.done()
    task.cancel()


async def test_a_line_for_each_probe_does_not_ask_for_ever_more() -> None:
    """Many servers write down who asked. Some lines end a pause at once; then time has to pass."""
    loop, pace = paced()
    lengths: list[float] = []
    for _ in range(3 * MAX_SIGNS):
        began = loop.now
        task = await begin(pace, ACCEPTED)
        pace.on_output()
        while not task.done():
            await advance(loop, ACCEPTED.shortest)
        lengths.append(loop.now - began)
    assert lengths[0] == pytest.approx(ACCEPTED.shortest, abs=1e-9)
    assert sum(lengths[-MAX_SIGNS:]) > 3 * MAX_SIGNS * ACCEPTED.shortest
    loop.advance(1.0)
    task = await begin(pace, ACCEPTED)
    pace.on_output()
    await advance(loop, ACCEPTED.shortest * 1.01)
    assert task.done(), "after a silent second a line counts again"


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
