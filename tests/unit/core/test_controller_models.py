"""Models: time to live, unload, preload, adoption."""

from __future__ import annotations

from modelswap.core.commands import Fail, Grant, LeaseRequest, Reason
from modelswap.core.models.lifecycle import Event, Phase
from modelswap.core.spec import ClientId, ModelId, RequestId
from modelswap.units import Seconds
from support.controller_simulator import (
    FakeGroup,
    FakeProcess,
    FakeServer,
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
    sim = swapping(specs=specs(a=spec(A, ttl=Seconds(10))), seconds_of_work=lambda: 25.0)
    sim.arrive("a")
    sim.run(0.5 + 25 + 9.9)
    assert sim.controller.phase(A) is Phase.READY
    sim.run(0.2)
    assert sim.terminated == [A]


def test_a_wanted_model_outlives_its_time() -> None:
    """A ready model that requests wait for stays, though it serves no request for longer than its ttl."""
    groups = (FakeGroup("one", (A,)), FakeGroup("two", (B,), exclusive=False))
    sim = swapping(groups=groups, specs=specs(a=spec(A, ttl=Seconds(10))))
    sim.arrive("a")
    sim.run(1)
    sim.seconds_of_work = lambda: 60.0
    sim.arrive("b")
    sim.run(1)
    waiting = sim.arrive("a")
    sim.run(55)
    assert sim.terminated == []
    sim.run(10)
    assert (sim.terminated, sim.answers[waiting]) == ([B], Grant(waiting, A))


def test_an_abandoned_model_stays_for_its_ttl() -> None:
    """A model that is not used after its load stays for its ttl, counted from ready."""
    sim = swapping(specs=specs(a=spec(A, ttl=Seconds(10))))
    sim.leave(sim.arrive("a"))
    sim.run(10.4)
    assert sim.controller.phase(A) is Phase.READY
    sim.run(0.2)
    assert sim.terminated == [A]


def test_use_costs_no_timers() -> None:
    """Requests for a ready model make no timer commands, whatever its ttl."""
    sim = swapping(specs=specs(a=spec(A, ttl=Seconds(10))))
    sim.arrive("a")
    sim.run(1)
    sim.arrive("a")
    for _ in range(3):
        assert sim.controller.serve_now(A)
        assert sim.controller.on_finished(A, sim.clock()) == ()
    sim.run(10.6)
    assert sim.terminated == [A]


def test_unload_lets_running_requests_end() -> None:
    """Running requests get the model's grace; queued ones are refused; new ones start it anew."""
    sim = swapping(specs=specs(a=spec(A, concurrency=1)), seconds_of_work=lambda: 1.5)
    running, waiting = sim.arrive("a"), sim.arrive("a")
    sim.run(1)
    sim.execute(sim.controller.unload([A], sim.clock()))
    sim.execute(sim.controller.unload([A], sim.clock()))
    assert reasons(sim, running, waiting) == [None, Reason.UNLOADED]
    assert sim.terminated == []
    after = sim.arrive("a")
    sim.run(1.1)
    assert sim.terminated == [A]
    sim.run(2)
    assert sim.granted == [running, after]


def test_unload_does_not_wait_for_ever() -> None:
    """A request that outlasts the grace is cut."""
    sim = swapping(seconds_of_work=lambda: 1000)
    sim.arrive("a")
    sim.run(1)
    sim.execute(sim.controller.unload([A], sim.clock()))
    sim.run(1.9)
    assert sim.terminated == []
    sim.execute(sim.controller.unload([A], sim.clock()))
    sim.run(0.2)
    assert sim.terminated == [A]


def test_force_cuts_and_then_kills() -> None:
    """A forced unload stops the busy server at once; forced again, it kills."""
    sim = swapping(seconds_of_work=lambda: 1000, server_of=lambda _: FakeServer(stops_in=None))
    sim.arrive("a")
    sim.run(1)
    sim.execute(sim.controller.unload([A], sim.clock(), force=True))
    assert (sim.terminated, sim.killed) == ([A], [])
    sim.execute(sim.controller.unload([A], sim.clock(), force=True))
    assert sim.killed == [A]


def test_unload_is_not_undone_by_an_earlier_decision() -> None:
    """A model unloaded while its swap still evicts is not started afterwards."""
    sim = swapping(server_of=lambda _: FakeServer(stops_in=1.0))
    sim.arrive("a")
    sim.run(2)
    refused = sim.arrive("b")
    sim.execute(sim.controller.unload([B], sim.clock()))
    sim.run(5)
    assert reasons(sim, refused) == [Reason.UNLOADED]
    assert sim.spawned == [A]


def test_unload_while_starting_is_prompt() -> None:
    """A start in progress is given up: asked to leave, killed after 5 s."""
    sim = swapping(server_of=lambda _: FakeServer(starts_in=100, stops_in=None))
    id_ = sim.arrive("a")
    sim.execute(sim.controller.unload(sim.specs, sim.clock()))
    assert reasons(sim, id_) == [Reason.UNLOADED]
    sim.run(5.1)
    assert sim.killed == [A]
    assert sim.controller.phase(A) is Phase.STOPPED


def test_unloading_the_unknown_does_nothing() -> None:
    """There is nothing to stop in a model that is not configured."""
    sim = swapping()
    assert sim.controller.unload([ModelId("z")], sim.clock()) == ()


def test_preload_is_one_after_another() -> None:
    """Models load in order; a later one takes the place of an earlier one only by the policy."""
    sim = swapping(groups=ALL_TOGETHER)
    sim.execute(sim.controller.preload([A, B], sim.clock()))
    assert sim.spawned == [A]
    sim.run(2)
    assert [sim.controller.phase(m) for m in (A, B)] == [Phase.READY, Phase.READY]
    alone = swapping()
    alone.execute(alone.controller.preload([A, ModelId("z"), B], alone.clock()))
    alone.run(5)
    assert [alone.controller.phase(m) for m in (A, B)] == [Phase.STOPPED, Phase.READY]


def test_preload_goes_on_after_a_failure() -> None:
    """A model that does not start does not keep the next ones from starting."""
    servers = iter([FakeServer(fails=True), FakeServer()])
    sim = swapping(server_of=lambda _: next(servers))
    sim.execute(sim.controller.preload([A, B], sim.clock()))
    sim.run(2)
    assert sim.controller.phase(B) is Phase.READY


def test_preload_ends_with_unload_all() -> None:
    """An unload of all models ends the preload too."""
    sim = swapping(groups=ALL_TOGETHER)
    sim.execute(sim.controller.preload([A, B], sim.clock()))
    sim.execute(sim.controller.unload(sim.specs, sim.clock()))
    sim.run(5)
    assert sim.spawned == [A]


def test_adopted_servers_serve() -> None:
    """A server found running serves once its probe passed, and is not started."""
    sim = swapping()
    sim.processes |= {A: FakeProcess(FakeServer()), B: FakeProcess(FakeServer())}
    sim.execute(sim.controller.adopt(A, sim.clock()))
    assert sim.controller.adopt(A, sim.clock()) == ()
    assert sim.controller.adopt(ModelId("z"), sim.clock()) == ()
    sim.event("a", Event.PROBE_PASSED)
    assert sim.arrive("a") in sim.granted
    assert sim.spawned == []
    sim.execute(sim.controller.adopt(B, sim.clock()))
    assert sim.terminated == [B]


def test_adopted_with_requests_of_another_process() -> None:
    """They count as running: the model is not evicted until they end."""
    sim = swapping()
    sim.processes |= {A: FakeProcess(FakeServer())}
    sim.execute(sim.controller.adopt(A, sim.clock(), in_flight=2, is_ready=True))
    assert (sim.controller.phase(A), sim.controller.in_flight(A)) == (Phase.READY, 2)
    sim.arrive("b")
    assert sim.terminated == []
    sim.execute(sim.controller.on_finished(A, sim.clock()))
    assert sim.terminated == []
    sim.execute(sim.controller.on_finished(A, sim.clock()))
    assert sim.terminated == [A]


def test_adopted_only_to_finish() -> None:
    """A server that is not as configured finishes the others' requests; newcomers wait for a new one."""
    sim = swapping()
    sim.processes |= {A: FakeProcess(FakeServer())}
    sim.execute(sim.controller.adopt(A, sim.clock(), in_flight=1, is_ready=True, is_leaving=True))
    waiting = sim.arrive("a")
    assert sim.terminated == []
    assert waiting not in sim.answers
    sim.execute(sim.controller.on_finished(A, sim.clock()))
    assert sim.terminated == [A]
    sim.run(5)
    assert (sim.spawned, sim.answers[waiting]) == ([A], Grant(waiting, A))


def test_a_model_that_is_not_configured_finishes() -> None:
    """It has a place as long as requests run on it, gets no new ones, and is forgotten then."""
    sim, gone = swapping(), ModelId("z")
    sim.processes |= {gone: FakeProcess(FakeServer())}
    sim.execute(
        sim.controller.adopt(gone, sim.clock(), in_flight=1, is_ready=True, is_leaving=True)
    )
    assert sim.arrive("z") not in sim.granted
    sim.execute(sim.controller.on_finished(gone, sim.clock()))
    assert sim.terminated == [gone]
    sim.run(5)
    assert gone not in sim.controller.alive()


def test_rivals_in_use_are_adopted_both() -> None:
    """Another policy lets only one of them run: the second finishes its requests first."""
    sim = swapping()
    sim.processes |= {A: FakeProcess(FakeServer()), B: FakeProcess(FakeServer())}
    for model in (A, B):
        sim.execute(sim.controller.adopt(model, sim.clock(), in_flight=1, is_ready=True))
    assert sim.terminated == []
    sim.execute(sim.controller.on_finished(B, sim.clock()))
    assert sim.terminated == [B]


def test_requests_that_wait_elsewhere_already() -> None:
    """They are not refused for lack of a place, neither in the queue nor with the model."""
    sim = swapping(specs=specs(a=spec(A, concurrency=1)), queue_limit=1)
    sim.processes |= {A: FakeProcess(FakeServer())}
    sim.execute(sim.controller.adopt(A, sim.clock(), in_flight=1, is_ready=True))
    request = LeaseRequest(A, ClientId("c"))
    for number in (100, 101, 102):
        commands = sim.controller.on_arrived(RequestId(number), request, sim.clock(), is_new=False)
        assert not any(isinstance(command, Grant | Fail) for command in commands)
    assert [id_ for id_, _ in sim.controller.requests()] == [100, 101, 102]
    commands = sim.controller.on_arrived(RequestId(103), request, sim.clock())
    assert any(isinstance(command, Fail) for command in commands)


def test_requests_of_another_process_on_a_server_that_is_gone() -> None:
    """They end like those of a server that exited: they are counted down."""
    sim, gone = swapping(), ModelId("z")
    for model in (A, gone):
        sim.controller.add_in_flight(model, 2)
        sim.execute(sim.controller.on_finished(model, sim.clock()))
        assert sim.controller.in_flight(model) == 1
        sim.execute(sim.controller.on_finished(model, sim.clock()))
    assert sim.controller.in_flight(A) == 0
    assert sim.arrive("z") not in sim.granted
