"""Models: time to live, unload, preload, adoption."""

from __future__ import annotations

from modelswap.core.commands import Fail, Grant, LeaseRequest, Reason
from modelswap.core.models.lifecycle import Event, Phase
from modelswap.core.spec import ClientId, ModelId, RequestId
from modelswap.units import Seconds
from support.controller_simulator import (
    FakeGroup,
    Process,
    Server,
    group,
    reasons,
    spec,
    specs,
    swapping,
)

A, B, C = ModelId("a"), ModelId("b"), ModelId("c")
ALL_TOGETHER = (group("abc", swap=False),)


def test_the_time_to_live_counts_from_the_last_use() -> None:
    """A model leaves exactly its ttl after the last request ended, and not while one runs."""
    world = swapping(specs=specs(a=spec(A, ttl=Seconds(10))), seconds_of_work=lambda: 25.0)
    world.arrive("a")
    world.run(0.5 + 25 + 9.9)
    assert world.controller.phase(A) is Phase.READY
    world.run(0.2)
    assert world.terminated == [A]


def test_a_wanted_model_outlives_its_time() -> None:
    """A ready model that requests wait for stays, though it serves nobody for longer than its ttl."""
    groups = (FakeGroup("one", (A,)), FakeGroup("two", (B,), exclusive=False))
    world = swapping(groups=groups, specs=specs(a=spec(A, ttl=Seconds(10))))
    world.arrive("a")
    world.run(1)
    world.seconds_of_work = lambda: 60.0
    world.arrive("b")
    world.run(1)
    waiting = world.arrive("a")
    world.run(55)
    assert world.terminated == []
    world.run(10)
    assert (world.terminated, world.answers[waiting]) == ([B], Grant(waiting, A))


def test_an_abandoned_model_lives_its_ttl() -> None:
    """A model that nobody used after its load stays for its ttl, counted from ready."""
    world = swapping(specs=specs(a=spec(A, ttl=Seconds(10))))
    world.leave(world.arrive("a"))
    world.run(10.4)
    assert world.controller.phase(A) is Phase.READY
    world.run(0.2)
    assert world.terminated == [A]


def test_use_costs_no_timers() -> None:
    """Requests for a ready model make no timer commands, whatever its ttl."""
    world = swapping(specs=specs(a=spec(A, ttl=Seconds(10))))
    world.arrive("a")
    world.run(1)
    world.arrive("a")
    for _ in range(3):
        assert world.controller.serve_now(A)
        assert world.controller.on_finished(A, world.clock()) == ()
    world.run(10.6)
    assert world.terminated == [A]


def test_unload_lets_running_requests_end() -> None:
    """Running requests get the model's grace; those that wait are refused; newcomers start it anew."""
    world = swapping(specs=specs(a=spec(A, concurrency=1)), seconds_of_work=lambda: 1.5)
    running, waiting = world.arrive("a"), world.arrive("a")
    world.run(1)
    world.obey(world.controller.unload(A, world.clock()))
    world.obey(world.controller.unload(A, world.clock()))
    assert reasons(world, running, waiting) == [None, Reason.UNLOADED]
    assert world.terminated == []
    after = world.arrive("a")
    world.run(1.1)
    assert world.terminated == [A]
    world.run(2)
    assert world.granted == [running, after]


def test_unload_does_not_wait_for_ever() -> None:
    """A request that outlasts the grace is cut."""
    world = swapping(seconds_of_work=lambda: 1000)
    world.arrive("a")
    world.run(1)
    world.obey(world.controller.unload(A, world.clock()))
    world.run(1.9)
    assert world.terminated == []
    world.obey(world.controller.unload(A, world.clock()))
    world.run(0.2)
    assert world.terminated == [A]


def test_force_cuts_and_then_kills() -> None:
    """A forced unload asks the busy server to leave at once; forced again, it kills."""
    world = swapping(seconds_of_work=lambda: 1000, server_of=lambda _: Server(leaves_in=None))
    world.arrive("a")
    world.run(1)
    world.obey(world.controller.unload(A, world.clock(), force=True))
    assert (world.terminated, world.killed) == ([A], [])
    world.obey(world.controller.unload(A, world.clock(), force=True))
    assert world.killed == [A]


def test_unload_is_not_undone_by_an_earlier_decision() -> None:
    """A model unloaded while its swap still evicts is not started afterwards."""
    world = swapping(server_of=lambda _: Server(leaves_in=1.0))
    world.arrive("a")
    world.run(2)
    refused = world.arrive("b")
    world.obey(world.controller.unload(B, world.clock()))
    world.run(5)
    assert reasons(world, refused) == [Reason.UNLOADED]
    assert world.spawned == [A]


def test_unload_while_starting_is_prompt() -> None:
    """A start in progress is given up: asked to leave, killed after 5 s."""
    world = swapping(server_of=lambda _: Server(starts_in=100, leaves_in=None))
    id_ = world.arrive("a")
    world.obey(world.controller.unload(None, world.clock()))
    assert reasons(world, id_) == [Reason.UNLOADED]
    world.run(5.1)
    assert world.killed == [A]
    assert world.controller.phase(A) is Phase.STOPPED


def test_unloading_the_unknown_does_nothing() -> None:
    """There is nothing to stop in a model that is not configured."""
    world = swapping()
    assert world.controller.unload(ModelId("z"), world.clock()) == ()


def test_preload_is_one_after_another() -> None:
    """Models load in order; a later one takes the place of an earlier one only by the policy."""
    world = swapping(groups=ALL_TOGETHER)
    world.obey(world.controller.preload([A, B], world.clock()))
    assert world.spawned == [A]
    world.run(2)
    assert [world.controller.phase(m) for m in (A, B)] == [Phase.READY, Phase.READY]
    alone = swapping()
    alone.obey(alone.controller.preload([A, ModelId("z"), B], alone.clock()))
    alone.run(5)
    assert [alone.controller.phase(m) for m in (A, B)] == [Phase.STOPPED, Phase.READY]


def test_preload_goes_on_after_a_failure() -> None:
    """A model that does not start does not keep the next ones from starting."""
    servers = iter([Server(fails=True), Server()])
    world = swapping(server_of=lambda _: next(servers))
    world.obey(world.controller.preload([A, B], world.clock()))
    world.run(2)
    assert world.controller.phase(B) is Phase.READY


def test_preload_ends_with_unload_all() -> None:
    """Who unloads everything does not want the rest of the preload either."""
    world = swapping(groups=ALL_TOGETHER)
    world.obey(world.controller.preload([A, B], world.clock()))
    world.obey(world.controller.unload(None, world.clock()))
    world.run(5)
    assert world.spawned == [A]


def test_adopted_servers_serve() -> None:
    """A server found running serves once its probe passed, and is started by nobody."""
    world = swapping()
    world.processes |= {A: Process(Server()), B: Process(Server())}
    world.obey(world.controller.adopt(A, world.clock()))
    assert world.controller.adopt(A, world.clock()) == ()
    assert world.controller.adopt(ModelId("z"), world.clock()) == ()
    world.event("a", Event.PROBE_PASSED)
    assert world.arrive("a") in world.granted
    assert world.spawned == []
    world.obey(world.controller.adopt(B, world.clock()))
    assert world.terminated == [B]


def test_adopted_with_requests_of_another_process() -> None:
    """They count as running: nobody is evicted under them, and the swap comes when they end."""
    world = swapping()
    world.processes |= {A: Process(Server())}
    world.obey(world.controller.adopt(A, world.clock(), in_flight=2, is_ready=True))
    assert (world.controller.phase(A), world.controller.in_flight(A)) == (Phase.READY, 2)
    world.arrive("b")
    assert world.terminated == []
    world.obey(world.controller.on_finished(A, world.clock()))
    assert world.terminated == []
    world.obey(world.controller.on_finished(A, world.clock()))
    assert world.terminated == [A]


def test_adopted_only_to_finish() -> None:
    """A server that is not as configured finishes the others' requests; newcomers wait for a new one."""
    world = swapping()
    world.processes |= {A: Process(Server())}
    world.obey(
        world.controller.adopt(A, world.clock(), in_flight=1, is_ready=True, is_leaving=True)
    )
    waiting = world.arrive("a")
    assert world.terminated == []
    assert waiting not in world.answers
    world.obey(world.controller.on_finished(A, world.clock()))
    assert world.terminated == [A]
    world.run(5)
    assert (world.spawned, world.answers[waiting]) == ([A], Grant(waiting, A))


def test_a_model_that_is_not_configured_finishes() -> None:
    """It has a place as long as requests run on it, gets no new ones, and is forgotten then."""
    world, gone = swapping(), ModelId("z")
    world.processes |= {gone: Process(Server())}
    world.obey(
        world.controller.adopt(gone, world.clock(), in_flight=1, is_ready=True, is_leaving=True)
    )
    assert world.arrive("z") not in world.granted
    world.obey(world.controller.on_finished(gone, world.clock()))
    assert world.terminated == [gone]
    world.run(5)
    assert gone not in world.controller.alive()


def test_rivals_in_use_are_adopted_both() -> None:
    """Another policy lets only one of them run: the second finishes its requests first."""
    world = swapping()
    world.processes |= {A: Process(Server()), B: Process(Server())}
    for model in (A, B):
        world.obey(world.controller.adopt(model, world.clock(), in_flight=1, is_ready=True))
    assert world.terminated == []
    world.obey(world.controller.on_finished(B, world.clock()))
    assert world.terminated == [B]


def test_requests_that_wait_elsewhere_already() -> None:
    """They are not refused for lack of a place, neither in the queue nor with the model."""
    world = swapping(specs=specs(a=spec(A, concurrency=1)), queue_limit=1)
    world.processes |= {A: Process(Server())}
    world.obey(world.controller.adopt(A, world.clock(), in_flight=1, is_ready=True))
    for number in (100, 101, 102):
        request = LeaseRequest(RequestId(number), A, ClientId("c"))
        commands = world.controller.on_arrived(request, world.clock(), is_new=False)
        assert not any(isinstance(command, Grant | Fail) for command in commands)
    assert [request.id for request in world.controller.requests()] == [100, 101, 102]
    newcomer = LeaseRequest(RequestId(103), A, ClientId("c"))
    commands = world.controller.on_arrived(newcomer, world.clock())
    assert any(isinstance(command, Fail) for command in commands)


def test_requests_of_another_process_on_a_server_that_is_gone() -> None:
    """They end like those of a server that died: counted, and nothing more."""
    world, gone = swapping(), ModelId("z")
    for model in (A, gone):
        world.controller.add_in_flight(model, 2)
        world.obey(world.controller.on_finished(model, world.clock()))
        assert world.controller.in_flight(model) == 1
        world.obey(world.controller.on_finished(model, world.clock()))
    assert world.controller.in_flight(A) == 0
    assert world.arrive("z") not in world.granted
