"""Hypothesis looks for an order of events that breaks a guarantee of the controller."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from modelswap.core.models.lifecycle import Event
from modelswap.core.placement.groups import groups_policy
from modelswap.core.spec import ModelId, ModelSpec
from modelswap.units import Seconds
from support.controller_simulator import ControllerSimulator, FakeServer, group

NAMES = "abcd"
GROUPS = (group("ab"), group("c", exclusive=False), group("d", persistent=True))
models = st.sampled_from(NAMES)
servers = st.builds(
    FakeServer,
    starts_in=st.sampled_from([0.1, 4.0, 20.0]),
    fails=st.sampled_from([False, False, False, True]),
    exits_in=st.sampled_from([None, None, 0.2, 7.0]),
    stops_in=st.sampled_from([0.1, 3.0, None]),
    killed_in=st.sampled_from([0.01, 12.0]),
)


class ControllerMachine(RuleBasedStateMachine):
    """The simulator asserts every guarantee after each step, and `teardown` the end."""

    max_wait: Seconds | None = Seconds(5)

    def __init__(self) -> None:
        super().__init__()
        self.next_server = FakeServer()
        self.work = 0.2
        specs = {
            ModelId(m): ModelSpec(
                id=ModelId(m),
                start_timeout=Seconds(10),
                stop_grace=Seconds(2),
                ttl=Seconds(15) if m == "c" else None,
                concurrency=1 if m in "bd" else None,
                priority=1 if m == "d" else 0,
                restore_on_failure=m == "a",
            )
            for m in NAMES
        }
        self.sim = ControllerSimulator(
            specs,
            max_wait=self.max_wait,
            queue_limit=12,
            groups=GROUPS,
            server_of=lambda _: self.next_server,
            seconds_of_work=lambda: self.work,
        )
        self.unloaded: set[ModelId] = set()

    @rule(
        model=models,
        client=st.sampled_from("xyz"),
        background=st.booleans(),
        no_swap=st.sampled_from([False, False, True]),
    )
    def arrive(self, model: str, client: str, *, background: bool, no_swap: bool) -> None:
        self.unloaded.clear()
        watched = client == "x"
        self.sim.arrive(model, client, background=background, watched=watched, no_swap=no_swap)

    @rule(server=servers, work=st.sampled_from([0.0, 0.2, 9.0]))
    def change_servers(self, server: FakeServer, work: float) -> None:
        self.next_server, self.work = server, work

    @rule(seconds=st.sampled_from([0.05, 0.5, 3.0, 12.0]))
    def wait(self, seconds: float) -> None:
        self.sim.run(seconds)

    @precondition(lambda self: self.sim.open or self.sim.running)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        ids = sorted([*self.sim.open, *self.sim.running])
        self.sim.leave(data.draw(st.sampled_from(ids)))

    @precondition(lambda self: self.sim.processes)
    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        self.sim.exit(data.draw(st.sampled_from(sorted(self.sim.processes))))

    @rule(model=models)
    def stall(self, model: str) -> None:
        self.sim.event(model, Event.STALLED)

    @rule(model=models, force=st.booleans())
    def unload(self, model: str, *, force: bool) -> None:
        sim = self.sim
        sim.execute(sim.controller.unload([ModelId(model)], sim.clock(), force=force))
        assert not sim.controller.waiting(ModelId(model))

    @rule(force=st.booleans())
    def unload_all(self, *, force: bool) -> None:
        sim = self.sim
        sim.execute(sim.controller.unload(sim.specs, sim.clock(), force=force))
        self.unloaded = set(sim.specs)
        sim.spawned.clear()

    @rule(model=models)
    def preload(self, model: str) -> None:
        self.unloaded.clear()
        self.sim.execute(self.sim.controller.preload([ModelId(model)], self.sim.clock()))

    @rule(model=models)
    def reload(self, model: str) -> None:
        sim, name = self.sim, ModelId(model)
        sim.specs[name] = replace(sim.specs[name], priority=sim.specs[name].priority + 1)
        sim.execute(
            sim.controller.replace(
                sim.specs,
                groups_policy(GROUPS),
                changed={name},
                removed=set(),
                max_wait=self.max_wait,
                queue_limit=12,
                now=sim.clock(),
            )
        )

    @invariant()
    def guarantees_hold(self) -> None:
        self.sim.check()

    @invariant()
    def an_unload_is_not_undone(self) -> None:
        if self.unloaded:
            assert self.sim.spawned == []

    def teardown(self) -> None:
        """Run on without new arrivals: every open request is answered."""
        self.next_server, self.work = FakeServer(), 0.2
        for _ in range(5_000):
            if not self.sim.open:
                return
            assert self.sim.step(), f"these wait for ever: {self.sim.open}"
        raise AssertionError(f"never answered: {self.sim.open}")


class BoundByCostMachine(ControllerMachine):
    """The same with bounds by the cost of each swap."""

    max_wait = None


TestControllerMachine = ControllerMachine.TestCase
TestBoundByCostMachine = BoundByCostMachine.TestCase
for case in (TestControllerMachine, TestBoundByCostMachine):
    case.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
