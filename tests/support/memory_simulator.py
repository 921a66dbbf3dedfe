"""The controller on virtual time with the policy `memory`: devices, other programs, models that are measured.

After each step no device holds more than it has, and no pinned model was evicted.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from modelswap.core.models.lifecycle import Phase
from modelswap.core.placement.memory.memory_policy import memory_policy
from modelswap.core.placement.policy import RAM, Answer, DeviceId, Facts, Need, Question, Usage
from modelswap.core.spec import ModelId
from modelswap.units import Bytes, Seconds
from support.controller_simulator import ControllerSimulator, FakeProcess
from support.memory_questions import Rules, held, need, pool, size
from support.simulation import RandomTraffic

if TYPE_CHECKING:
    from modelswap.core.commands import Spawn
    from modelswap.core.placement.policy import Policy

POOLS: Final = (pool(RAM, 16, reserve=1), pool("gpu0", 10), pool("gpu1", 8))
NEEDS: Final = {
    "a": need(gpu=2),
    "b": need(gpu=7, ram=2),
    "c": need(gpu=6, ram=4),
    "d": need(gpu=14, ram=1),
    "e": need(ram=9),
    "f": need(gpu0=5),
    "g": need(gpu=40),
}
"""`a` is pinned, `d` has to be split, `g` never fits, and what `h` needs is not known until it has run."""
PINNED: Final = ModelId("a")
UNKNOWN: Final = ModelId("h")
MEASURED: Final = held(gpu0=6)
MEASURED_IN: Final = Seconds(0.5)
RULES: Final = Rules(wait=Seconds(20.0))


@dataclass
class MemorySimulator(ControllerSimulator):
    promised: dict[ModelId, dict[DeviceId, Bytes]] = field(default_factory=dict)
    is_measured: bool = False
    foreign: dict[DeviceId, Bytes] = field(default_factory=dict)
    epoch: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.tell()

    def policy(self) -> Policy:
        by_memory = memory_policy(RULES, [PINNED])

        def policy(question: Question) -> Answer:
            return by_memory(replace(question, usage=self.usage))

        return policy

    def usage(self, model: ModelId) -> Usage:
        state = self.controller.state(model)
        ready = self.now - state._ready_at if state.phase is Phase.READY else 0.0
        return Usage(
            idle=Seconds(0.0 if state.in_flight else min(1e6, self.now - state.used)),
            in_flight=state.in_flight,
            waiting=self.controller.waiting(model),
            resident=Seconds(ready),
        )

    def needs(self) -> dict[ModelId, Need]:
        known = {ModelId(name): one for name, one in NEEDS.items()}
        return known | (
            {UNKNOWN: Need(fixed=MEASURED, source=need().source)} if self.is_measured else {}
        )

    def tell(self) -> None:
        """Publish what is known now."""
        self.epoch += 1
        facts = Facts(
            epoch=self.epoch,
            pools=tuple(replace(one, foreign=self.foreign.get(one.id, Bytes(0))) for one in POOLS),
            needs=self.needs(),
            held={model: self.promised[model] for model in self.processes},
        )
        self.execute(self.controller.on_facts(facts, self.clock()))

    def evicts(self, target: ModelId, victim: ModelId) -> bool:
        """What keeps a request waiting depends on all that runs, so nothing is said of two models alone."""
        del target, victim
        return False

    def on_spawn(self, command: Spawn) -> None:
        model = command.model
        self.promised[model] = dict(command.placement.promised)
        super().on_spawn(command)
        stuck = {other for other in self.processes if self.controller.phase(other) is Phase.STUCK}
        others = self.processes.keys() - {model, PINNED} - stuck
        if model == UNKNOWN and not self.is_measured:
            assert not others, f"{model} does not run alone, but beside {others}"
        else:
            assert UNKNOWN not in others or self.is_measured

    def check_together(self) -> None:
        """All processes fit, those that are leaving too; but a model may be measured beside a stuck one."""
        counted = [
            model
            for model in self.processes
            if UNKNOWN not in self.processes or self.controller.phase(model) is not Phase.STUCK
        ]
        for one in POOLS:
            sizes = (self.promised[model].get(one.id, 0) for model in counted)
            assert sum(sizes) <= one.total - one.reserve, f"{one.id} holds too much"

    def probe(self, model: ModelId, process: FakeProcess) -> None:
        super().probe(model, process)
        if model == UNKNOWN and self.processes.get(model) is process:
            self.at(self.now + MEASURED_IN, lambda: self.measure(process))

    def measure(self, process: FakeProcess) -> None:
        if self.processes.get(UNKNOWN) is process:
            self.is_measured = True
            self.promised[UNKNOWN] = dict(MEASURED)
            self.tell()

    def check_eviction(self, model: ModelId, target: ModelId) -> None:
        super().check_eviction(model, target)
        assert model != PINNED, f"a pinned model was evicted for {target}"


@dataclass
class MemoryTraffic(RandomTraffic):
    """Random events, and other programs that take memory and give it back."""

    simulator: type[ControllerSimulator] = MemorySimulator

    def do_one_thing(self) -> None:
        if self.random.random() < 0.1:
            self.counts["foreign"] += 1
            self.take_memory(self.random.choice([0.0, 0.0, 1.0, 6.0]))
        super().do_one_thing()

    def take_memory(self, gib: float) -> None:
        sim = self.sim
        assert isinstance(sim, MemorySimulator)
        device = self.random.choice(POOLS).id
        sim.foreign[device] = size(gib)
        sim.tell()
