"""The life-cycle driver alone: steps become commands, and timers follow the phases."""

from __future__ import annotations

from modelswap.core.commands import (
    ClearTimer,
    PhaseChanged,
    SetTimer,
    Spawn,
    Terminate,
    TimerKey,
)
from modelswap.core.lifecycle_driver import LifecycleDriver
from modelswap.core.models.lifecycle import Event, Phase, Timer
from modelswap.core.models.state import ModelState
from modelswap.core.placement.policy import NodeId, Placement, unrestricted
from modelswap.core.scheduling.scheduler import Scheduler
from modelswap.core.spec import ModelId, ModelSpec
from modelswap.units import Seconds

A = ModelId("a")
NOW = Seconds(100.0)
THERE = Placement(NodeId("n"))


def driver_of(state: ModelState) -> LifecycleDriver:
    states = {A: state}
    return LifecycleDriver(states, Scheduler(states, unrestricted, max_wait=None, queue_limit=1))


def test_a_start_spawns_and_sets_its_deadline() -> None:
    """A step gives its commands in order: timer, process, phase; a flush returns them once."""
    state = ModelState(ModelSpec(id=A, start_timeout=Seconds(7)), placement=THERE)
    driver = driver_of(state)
    assert driver.feed(A, Event.START_WANTED, NOW, "requested") == ()
    assert driver.flush() == [
        SetTimer(TimerKey(Timer.START, A), Seconds(107)),
        Spawn(A, THERE),
        PhaseChanged(A, Phase.STARTING, "requested"),
    ]
    assert driver.flush() == ()


def test_the_timers_of_a_phase_end_with_it() -> None:
    """A ready server has no start deadline any more, and its time to live begins."""
    state = ModelState(ModelSpec(id=A, ttl=Seconds(5)), Phase.STOPPED)
    driver = driver_of(state)
    driver.feed(A, Event.START_WANTED, NOW, "")
    driver.flush()
    driver.feed(A, Event.PROBE_PASSED, NOW, "")
    assert driver.flush() == [
        ClearTimer(TimerKey(Timer.START, A)),
        PhaseChanged(A, Phase.READY, ""),
        SetTimer(TimerKey(Timer.IDLE, A), Seconds(105)),
    ]
    driver.on_timer(TimerKey(Timer.IDLE, A), Seconds(105))
    assert Terminate(A) in driver.flush()
    assert state.has_idled


def test_a_second_drain_does_not_extend_the_first() -> None:
    """The grace period of running requests counts from the first call."""
    driver = driver_of(ModelState(ModelSpec(id=A, stop_grace=Seconds(3)), Phase.READY, 1))
    driver.watch_drain(A, NOW)
    driver.watch_drain(A, Seconds(102))
    assert driver.flush() == [SetTimer(TimerKey(Timer.DRAIN, A), Seconds(103))]
    driver.on_timer(TimerKey(Timer.DRAIN, A), Seconds(103))
    assert Terminate(A) in driver.flush()
