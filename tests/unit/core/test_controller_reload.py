"""Reload of the configuration, drain and stop."""

from __future__ import annotations

from modelswap.core.commands import Reason
from modelswap.core.models.lifecycle import Event
from modelswap.core.placement.groups import groups_policy
from modelswap.core.spec import ModelId, ModelSpec
from modelswap.units import Seconds
from support.controller_simulator import (
    ControllerSimulator,
    FakeServer,
    group,
    reasons,
    spec,
    specs,
    swapping,
)

A, B, C = ModelId("a"), ModelId("b"), ModelId("c")
ALL_TOGETHER = (group("abc", swap=False),)


def reload(
    sim: ControllerSimulator, new: dict[ModelId, ModelSpec], *, changed: str = "", removed: str = ""
) -> None:
    sim.execute(
        sim.controller.replace(
            new,
            groups_policy(sim.groups),
            changed={ModelId(m) for m in changed},
            removed={ModelId(m) for m in removed},
            max_wait=sim.max_wait,
            queue_limit=sim.queue_limit,
            now=sim.clock(),
        )
    )


def test_reload_leaves_the_same_alone() -> None:
    """An unchanged model keeps its process and its requests, and takes its new ttl."""
    sim = swapping(seconds_of_work=lambda: 5)
    sim.arrive("a")
    sim.run(1)
    reload(sim, specs(a=spec(A, ttl=Seconds(3)), d=ModelSpec(id=ModelId("d"))))
    assert sim.terminated == []
    sim.run(5 + 3 - 0.4)
    assert sim.terminated == [A]


def test_reload_restarts_a_changed_model_for_queued_requests() -> None:
    """A changed model finishes its requests, however long; queued ones get the new server."""
    limited = specs(a=spec(A, concurrency=1))
    sim = swapping(specs=limited, seconds_of_work=lambda: 50)
    sim.arrive("a")
    waiting = sim.arrive("a")
    sim.run(1)
    reload(sim, limited, changed="ab")
    sim.run(45)
    assert sim.terminated == []
    sim.run(10)
    assert sim.granted[-1] == waiting
    assert sim.spawned == [A, A]


def test_reload_gives_up_a_changed_start() -> None:
    """A changed model that is still starting starts anew."""
    sim = swapping()
    id_ = sim.arrive("a")
    reload(sim, specs(), changed="a")
    sim.run(2)
    assert sim.spawned == [A, A]
    assert sim.granted == [id_]


def test_reload_removes() -> None:
    """A removed model refuses queued requests, finishes running ones, and is gone then."""
    sim = swapping(specs=specs(a=spec(A, concurrency=1)), seconds_of_work=lambda: 5)
    sim.arrive("a")
    waiting = sim.arrive("a")
    sim.run(1)
    rest = {m: s for m, s in specs().items() if m != A}
    reload(sim, rest, removed="ac")
    assert reasons(sim, waiting, sim.arrive("a"), sim.arrive("c")) == [
        Reason.REMOVED,
        Reason.NO_SUCH_MODEL,
        Reason.NO_SUCH_MODEL,
    ]
    assert sim.terminated == []
    sim.run(6)
    assert sim.terminated == [A]
    assert sim.controller.alive() == []
    assert sim.controller.on_event(A, Event.EXITED, sim.clock()) == ()
    assert sim.controller.state(A).failure is None
    assert sim.controller.in_flight(A) == 0


def test_a_shorter_bound_holds_at_once() -> None:
    """A shorter bound holds for queued requests too."""
    sim = swapping(seconds_of_work=lambda: 2.0)
    sim.arrive("a")
    sim.run(1)
    waiting = sim.arrive("b")
    sim.max_wait = Seconds(5)
    reload(sim, specs())
    for _ in range(9):
        sim.arrive("a")
        sim.run(1)
    assert waiting in sim.granted


def test_a_removed_model_that_exits_is_dropped() -> None:
    """No state is kept of a removed model once its process and its last request have ended."""
    sim = swapping(seconds_of_work=lambda: 5)
    sim.arrive("a")
    sim.run(1)
    reload(sim, {B: specs()[B]}, removed="a")
    sim.exit("a")
    assert A not in sim.controller._states


def test_a_removed_model_may_come_back() -> None:
    """A model that returns while its old process drains is started anew after it."""
    sim = swapping(seconds_of_work=lambda: 5)
    sim.arrive("a")
    sim.run(1)
    reload(sim, {B: specs()[B]}, removed="a")
    reload(sim, specs())
    again = sim.arrive("a")
    sim.run(10)
    assert sim.granted[-1] == again
    assert sim.spawned == [A, A]


def test_drain_refuses_all_requests() -> None:
    """A drain refuses queued and new requests, and running ones go on."""
    sim = swapping(seconds_of_work=lambda: 5)
    running = sim.arrive("a")
    sim.run(1)
    waiting = sim.arrive("b")
    sim.execute(sim.controller.drain(sim.clock()))
    assert not sim.controller.serve_now(A)
    assert reasons(sim, running, waiting, sim.arrive("a")) == [
        None,
        Reason.SHUTTING_DOWN,
        Reason.SHUTTING_DOWN,
    ]
    assert sim.terminated == []
    sim.execute(sim.controller.stop_all(sim.clock()))
    sim.execute(sim.controller.stop_all(sim.clock(), force=True))
    assert (sim.terminated, sim.killed) == ([A], [A])
    sim.run(10)
    assert sim.controller.alive() == []


def test_drain_drops_a_swap_that_only_evicts() -> None:
    """A swap that still waits for an exit when the drain begins starts nothing."""
    sim = swapping(server_of=lambda _: FakeServer(stops_in=1.0))
    sim.arrive("a")
    sim.run(2)
    sim.arrive("b")
    sim.execute(sim.controller.drain(sim.clock()))
    sim.run(5)
    assert sim.spawned == [A]
