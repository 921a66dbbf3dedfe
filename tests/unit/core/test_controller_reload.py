"""Another configuration, and the end."""

from __future__ import annotations

from modelswap.core.commands import Reason
from modelswap.core.models.lifecycle import Event
from modelswap.core.placement.groups import groups_policy
from modelswap.core.spec import ModelId, ModelSpec
from modelswap.units import Seconds
from support.controller_simulator import Server, World, group, reasons, spec, specs, swapping

A, B, C = ModelId("a"), ModelId("b"), ModelId("c")
ALL_TOGETHER = (group("abc", swap=False),)


def reload(
    world: World, new: dict[ModelId, ModelSpec], *, changed: str = "", removed: str = ""
) -> None:
    world.obey(
        world.controller.replace(
            new,
            groups_policy(world.groups),
            changed={ModelId(m) for m in changed},
            removed={ModelId(m) for m in removed},
            max_wait=world.max_wait,
            queue_limit=world.queue_limit,
            now=world.clock(),
        )
    )


def test_reload_leaves_the_same_alone() -> None:
    """An unchanged model keeps its process and its requests, and takes its new ttl."""
    world = swapping(seconds_of_work=lambda: 5)
    world.arrive("a")
    world.run(1)
    reload(world, specs(a=spec(A, ttl=Seconds(3)), d=ModelSpec(id=ModelId("d"))))
    assert world.terminated == []
    world.run(5 + 3 - 0.4)
    assert world.terminated == [A]


def test_reload_restarts_the_changed_for_who_waits() -> None:
    """A changed model finishes what runs, however long, and who waits gets the new one."""
    limited = specs(a=spec(A, concurrency=1))
    world = swapping(specs=limited, seconds_of_work=lambda: 50)
    world.arrive("a")
    waiting = world.arrive("a")
    world.run(1)
    reload(world, limited, changed="ab")
    world.run(45)
    assert world.terminated == []
    world.run(10)
    assert world.granted[-1] == waiting
    assert world.spawned == [A, A]


def test_reload_gives_up_a_changed_start() -> None:
    """A changed model that is still starting starts anew."""
    world = swapping()
    id_ = world.arrive("a")
    reload(world, specs(), changed="a")
    world.run(2)
    assert world.spawned == [A, A]
    assert world.granted == [id_]


def test_reload_removes() -> None:
    """A removed model refuses who waits, lets who runs finish, and is gone then."""
    world = swapping(specs=specs(a=spec(A, concurrency=1)), seconds_of_work=lambda: 5)
    world.arrive("a")
    waiting = world.arrive("a")
    world.run(1)
    rest = {m: s for m, s in specs().items() if m != A}
    reload(world, rest, removed="ac")
    assert reasons(world, waiting, world.arrive("a"), world.arrive("c")) == [
        Reason.REMOVED,
        Reason.NO_SUCH_MODEL,
        Reason.NO_SUCH_MODEL,
    ]
    assert world.terminated == []
    world.run(6)
    assert world.terminated == [A]
    assert world.controller.alive() == []
    assert world.controller.on_event(A, Event.EXITED, world.clock()) == ()
    assert world.controller.failure(A) is None
    assert world.controller.in_flight(A) == 0


def test_a_shorter_bound_holds_at_once() -> None:
    """Who waits already profits from a bound that a reload made shorter."""
    world = swapping(seconds_of_work=lambda: 2.0)
    world.arrive("a")
    world.run(1)
    waiting = world.arrive("b")
    world.max_wait = Seconds(5)
    reload(world, specs())
    for _ in range(9):
        world.arrive("a")
        world.run(1)
    assert waiting in world.granted


def test_a_removed_model_that_dies_is_forgotten() -> None:
    """Nothing is kept of a removed model once its process and its last request have ended."""
    world = swapping(seconds_of_work=lambda: 5)
    world.arrive("a")
    world.run(1)
    reload(world, {B: specs()[B]}, removed="a")
    world.exit("a")
    assert A not in world.controller._seats


def test_a_removed_model_may_come_back() -> None:
    """What returns while its old process still finishes is started anew after it."""
    world = swapping(seconds_of_work=lambda: 5)
    world.arrive("a")
    world.run(1)
    reload(world, {B: specs()[B]}, removed="a")
    reload(world, specs())
    again = world.arrive("a")
    world.run(10)
    assert world.granted[-1] == again
    assert world.spawned == [A, A]


def test_drain_lets_nobody_in() -> None:
    """A drain refuses who waits and who comes, and leaves what runs alone."""
    world = swapping(seconds_of_work=lambda: 5)
    running = world.arrive("a")
    world.run(1)
    waiting = world.arrive("b")
    world.obey(world.controller.drain(world.clock()))
    assert not world.controller.serve_now(A)
    assert reasons(world, running, waiting, world.arrive("a")) == [
        None,
        Reason.SHUTTING_DOWN,
        Reason.SHUTTING_DOWN,
    ]
    assert world.terminated == []
    world.obey(world.controller.stop_all(world.clock()))
    world.obey(world.controller.stop_all(world.clock(), force=True))
    assert (world.terminated, world.killed) == ([A], [A])
    world.run(10)
    assert world.controller.alive() == []


def test_drain_drops_a_swap_that_only_evicts() -> None:
    """A swap that still waits for an exit when the drain begins starts nothing."""
    world = swapping(server_of=lambda _: Server(leaves_in=1.0))
    world.arrive("a")
    world.run(2)
    world.arrive("b")
    world.obey(world.controller.drain(world.clock()))
    world.run(5)
    assert world.spawned == [A]
