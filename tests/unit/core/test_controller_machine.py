"""Hypothesis looks for an order of events that breaks a law of the room."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from modelswap.core.models.lifecycle import Event
from modelswap.core.placement.groups import groups_policy
from modelswap.core.spec import ModelId, ModelSpec
from modelswap.units import Seconds
from support.controller_simulator import Server, World, group

NAMES = "abcd"
GROUPS = (group("ab"), group("c", exclusive=False), group("d", persistent=True))
models = st.sampled_from(NAMES)
servers = st.builds(
    Server,
    starts_in=st.sampled_from([0.1, 4.0, 20.0]),
    fails=st.sampled_from([False, False, False, True]),
    dies_in=st.sampled_from([None, None, 0.2, 7.0]),
    leaves_in=st.sampled_from([0.1, 3.0, None]),
    dies_after_kill_in=st.sampled_from([0.01, 12.0]),
)


class MachineRoom(RuleBasedStateMachine):
    """Every law is asserted by the world, in every step, and the end by `teardown`."""

    def __init__(self) -> None:
        super().__init__()
        self.next_server = Server()
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
        self.world = World(
            specs,
            max_wait=Seconds(5),
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
        self.world.arrive(model, client, background=background, watched=watched, no_swap=no_swap)

    @rule(server=servers, work=st.sampled_from([0.0, 0.2, 9.0]))
    def change_the_weather(self, server: Server, work: float) -> None:
        self.next_server, self.work = server, work

    @rule(seconds=st.sampled_from([0.05, 0.5, 3.0, 12.0]))
    def wait(self, seconds: float) -> None:
        self.world.run(seconds)

    @precondition(lambda self: self.world.open or self.world.running)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        ids = sorted([*self.world.open, *self.world.running])
        self.world.leave(data.draw(st.sampled_from(ids)))

    @precondition(lambda self: self.world.processes)
    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        self.world.exit(data.draw(st.sampled_from(sorted(self.world.processes))))

    @rule(model=models)
    def stall(self, model: str) -> None:
        self.world.event(model, Event.STALLED)

    @rule(model=models, force=st.booleans())
    def unload(self, model: str, *, force: bool) -> None:
        world = self.world
        world.obey(world.controller.unload(ModelId(model), world.clock(), force=force))
        assert not world.controller.waiting(ModelId(model))

    @rule(force=st.booleans())
    def unload_all(self, *, force: bool) -> None:
        world = self.world
        world.obey(world.controller.unload(None, world.clock(), force=force))
        self.unloaded = set(world.specs)
        world.spawned.clear()

    @rule(model=models)
    def preload(self, model: str) -> None:
        self.unloaded.clear()
        self.world.obey(self.world.controller.preload([ModelId(model)], self.world.clock()))

    @rule(model=models)
    def reload(self, model: str) -> None:
        world, name = self.world, ModelId(model)
        world.specs[name] = replace(world.specs[name], priority=world.specs[name].priority + 1)
        world.obey(
            world.controller.replace(
                world.specs,
                groups_policy(GROUPS),
                changed={name},
                removed=set(),
                max_wait=Seconds(5),
                queue_limit=12,
                now=world.clock(),
            )
        )

    @invariant()
    def laws_hold(self) -> None:
        self.world.check()

    @invariant()
    def an_unload_is_not_undone(self) -> None:
        if self.unloaded:
            assert self.world.spawned == []

    def teardown(self) -> None:
        """Let the world run on without new arrivals: every open request is answered."""
        self.next_server, self.work = Server(), 0.2
        for _ in range(5_000):
            if not self.world.open:
                return
            assert self.world.step(), f"these wait for ever: {self.world.open}"
        raise AssertionError(f"never answered: {self.world.open}")


TestMachineRoom = MachineRoom.TestCase
TestMachineRoom.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
