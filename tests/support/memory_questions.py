"""Questions to the policy `memory`, in GiB, and what is true of every answer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from modelswap.core.placement.memory.memory_policy import memory_policy
from modelswap.core.placement.policy import (
    RAM,
    UNKNOWN_NEED,
    UNUSED,
    Answer,
    DeviceId,
    DevicePool,
    Facts,
    Need,
    NeedSource,
    PlacementPlan,
    Question,
    Usage,
)
from modelswap.core.spec import ModelId
from modelswap.units import Bytes, Seconds

if TYPE_CHECKING:
    from collections.abc import Mapping

GIB = 1 << 30
GPU0, GPU1, GPU2 = DeviceId("gpu0"), DeviceId("gpu1"), DeviceId("gpu2")


@dataclass(frozen=True)
class Rules:
    wait: Seconds = Seconds(60.0)
    min_residency: Seconds = Seconds(3.0)
    strategy: str = "spread"


def size(gib: float) -> Bytes:
    return Bytes(int(gib * GIB))


def pool(name: str, total: float, *, reserve: float = 0, foreign: float = 0) -> DevicePool:
    return DevicePool(
        id=DeviceId(name), total=size(total), reserve=size(reserve), foreign=size(foreign)
    )


def need(gpu: float = 0, **fixed: float) -> Need:
    """Return a declared need: *gpu* on any GPU, the others where they are named."""
    sizes = {DeviceId(name): size(gib) for name, gib in fixed.items()}
    return Need(fixed=sizes, movable=size(gpu), source=NeedSource.DECLARED)


def held(**sizes: float) -> dict[DeviceId, Bytes]:
    return {DeviceId(name): size(gib) for name, gib in sizes.items()}


@dataclass(frozen=True)
class Machine:
    """Devices, what runs on them, and what is known of it."""

    pools: tuple[DevicePool, ...]
    needs: Mapping[str, Need]
    holds: Mapping[str, Mapping[DeviceId, Bytes]]
    """The live models, from the least to the most recently used."""
    usage: Mapping[str, Usage]
    reload: Mapping[str, float]
    rules: Rules = Rules()
    pinned: frozenset[str] = frozenset()

    def question(self, target: str) -> Question:
        facts = Facts(
            epoch=1,
            pools=self.pools,
            needs={ModelId(name): one for name, one in self.needs.items()},
            held={ModelId(name): one for name, one in self.holds.items()},
            reload={ModelId(name): Seconds(one) for name, one in self.reload.items()},
        )
        return Question(
            ModelId(target),
            [ModelId(name) for name in self.holds],
            facts,
            lambda model: self.usage.get(model, UNUSED),
        )

    def ask(self, target: str, **more: object) -> Answer:
        policy = memory_policy(self.rules, [ModelId(name) for name in self.pinned])
        return policy(replace(self.question(target), **more))  # type: ignore[arg-type] # fields by name


def machine(*pools: DevicePool, **more: object) -> Machine:
    empty: dict[str, object] = {"needs": {}, "holds": {}, "usage": {}, "reload": {}}
    return Machine(pools, **(empty | more))  # type: ignore[arg-type] # fields by name


def evicted(answer: Answer) -> set[str]:
    assert isinstance(answer, PlacementPlan), answer
    return set(answer.evicted)


def check_capacity(one: Machine, target: str, plan: PlacementPlan) -> None:
    """Fail if what the plan lets run is beyond the room of a device that the target uses."""
    promised = dict(plan.placement.promised)
    wanted = one.needs.get(target, UNKNOWN_NEED)
    assert sum(promised.values()) == sum(wanted.fixed.values()) + wanted.movable
    for device in one.pools:
        staying = (
            amounts.get(device.id, 0)
            for name, amounts in one.holds.items()
            if name not in plan.evicted
        )
        if promised.get(device.id):
            assert sum(staying) + promised[device.id] <= device.room, device.id


RAM_ONLY = (pool(RAM, 16, reserve=1),)
