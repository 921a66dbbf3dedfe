"""The model that is loaded when none was used for a while, on virtual time."""

from __future__ import annotations

import pytest

from modelswap.core.commands import ClearTimer, SetTimer, TimerKey
from modelswap.core.models.lifecycle import Event, Phase, Timer
from modelswap.core.placement.policy import NotYet
from modelswap.core.spec import IdleModel, ModelId
from modelswap.units import Seconds
from support.controller_simulator import (
    ControllerSimulator,
    FakeServer,
    group,
    swapping,
)

A, B = ModelId("a"), ModelId("b")
AFTER = Seconds(60)
WANTED = IdleModel(A, AFTER)
UNUSED = TimerKey(Timer.UNUSED)


def watching(wanted: IdleModel | None = WANTED, **settings: object) -> ControllerSimulator:
    """Return a simulator that loads `a` after 60 s; one model runs at a time."""
    sim = swapping(**settings)
    sim.execute(sim.controller.load_when_idle(wanted, sim.clock()))
    return sim


def test_it_is_loaded_when_none_was_used() -> None:
    """At the start the time counts from the order."""
    sim = watching()
    sim.run(59.9)
    assert sim.spawned == []
    sim.run(1)
    assert sim.controller.phase(A) is Phase.READY
    sim.run(10_000)
    assert sim.spawned == [A]


def test_it_takes_the_place_of_another() -> None:
    """The time counts from the end of the last request; the model that is there leaves."""
    sim = watching()
    sim.run(50)
    sim.arrive("b")
    sim.run(60.6)
    assert sim.controller.phase(B) is Phase.READY
    sim.run(1)
    assert sim.terminated == [B]
    assert sim.phase_changes[-1].model == A
    sim.arrive("b")
    sim.run(61.9)
    assert sim.spawned == [B, A, B, A]


@pytest.mark.parametrize("is_shared", [False, True])
def test_not_while_a_request_runs(*, is_shared: bool) -> None:
    """A long request is use, though it began long ago, and though both could run together."""
    sim = watching(seconds_of_work=lambda: 500.0, groups=(group("ab", swap=not is_shared),))
    sim.arrive("b")
    sim.run(500.4)
    assert sim.spawned == [B]
    sim.run(60)
    assert sim.controller.phase(A) is Phase.STOPPED
    sim.run(1)
    assert sim.controller.phase(A) is Phase.READY


def test_not_while_a_request_waits() -> None:
    """A request that waits for its model is use, too."""
    sim = watching(server_of=lambda _: FakeServer(starts_in=100.0))
    sim.arrive("b")
    sim.run(119)
    assert sim.spawned == [B]


def test_it_does_not_unload_what_cannot_leave() -> None:
    """Where its load cannot begin at once it is given up, so that it never comes between two requests."""
    sim = watching(server_of=lambda _: FakeServer(stops_in=None, killed_in=100.0))
    sim.arrive("b")
    sim.run(1)
    sim.execute(sim.controller.unload([B], sim.clock()))
    sim.run(62)
    assert sim.controller.phase(B) is Phase.STUCK
    sim.run(42)
    assert sim.controller.phase(B) is Phase.STOPPED
    assert sim.spawned == [B]
    sim.run(AFTER)
    assert sim.spawned == [B, A]


def test_a_load_that_would_wait_is_given_up() -> None:
    """Where other programs hold the memory it is tried again later, and stands in nobody's way."""
    sim = watching()
    sim.controller._scheduler.policy = lambda _: NotYet("others hold it")
    sim.run(61)
    assert not sim.controller._queue
    sim.controller._scheduler.policy = sim.policy()
    sim.run(AFTER)
    assert sim.spawned == [A]


def test_an_order_to_unload_it_holds() -> None:
    """It is not loaded again before a request has come, for whatever model."""
    sim = watching()
    sim.run(61)
    sim.execute(sim.controller.unload([A, B], sim.clock()))
    sim.run(1000)
    assert sim.spawned == [A]
    sim.arrive("b")
    sim.run(62)
    assert sim.spawned == [A, B, A]


def test_an_order_to_unload_another_changes_nothing() -> None:
    """Only the model itself is held by that."""
    sim = watching()
    sim.execute(sim.controller.unload([B], sim.clock()))
    sim.run(61)
    assert sim.spawned == [A]


def test_a_load_that_fails_is_tried_again() -> None:
    """Not sooner than after the same time, and not while it backs off."""
    sim = watching(server_of=lambda _: FakeServer(fails=True))
    sim.run(59 + 2 * 60)
    assert sim.spawned == [A, A]
    sim = watching(IdleModel(A, Seconds(0.1)), server_of=lambda _: FakeServer(fails=True))
    sim.run(120)
    assert 5 <= len(sim.spawned) <= 8  # 1, 2, 4, 8, 16, 30, 30 … seconds


def test_a_model_that_exits_comes_back() -> None:
    """A crash of the idle model is mended after the same time."""
    sim = watching()
    sim.run(61)
    sim.exit("a")
    sim.run(10)
    assert sim.spawned == [A]
    sim.run(60)
    assert sim.spawned == [A, A]


def test_a_model_that_may_run_beside_it_stays() -> None:
    """What leaves for it, the policy says."""
    sim = watching(groups=(group("ab", swap=False),))
    sim.arrive("b")
    sim.run(62)
    assert {m: sim.controller.phase(m) for m in (A, B)} == {A: Phase.READY, B: Phase.READY}


def test_the_order_can_change() -> None:
    """The same order again does not begin anew; another one does; none ends it."""
    sim = watching()
    sim.run(30)
    assert sim.controller.load_when_idle(IdleModel(A, AFTER), sim.clock()) == ()
    other = IdleModel(B, AFTER)
    changed = sim.controller.load_when_idle(other, sim.clock())
    assert changed == [ClearTimer(UNUSED), SetTimer(UNUSED, Seconds(90))]
    assert sim.controller.load_when_idle(None, sim.clock()) == [ClearTimer(UNUSED)]


def test_a_model_that_is_gone() -> None:
    """Nothing is loaded where the configuration has lost the model, or the program ends."""
    sim = watching(IdleModel(ModelId("gone"), AFTER))
    sim.run(200)
    assert sim.spawned == []
    sim = watching()
    sim.execute(sim.controller.drain(sim.clock()))
    sim.run(200)
    assert sim.spawned == []


def test_a_stalled_model_is_not_loaded_twice() -> None:
    """A model that has a process is left alone."""
    sim = watching(server_of=lambda _: FakeServer(stops_in=100.0, starts_in=0.1))
    sim.arrive("a")
    sim.run(59)
    sim.event("a", Event.STALLED)
    sim.run(3)
    assert sim.spawned == [A]
