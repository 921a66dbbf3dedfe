"""The policy `memory` alone: CPU time of one decision beside many loaded models on four GPUs."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from bench.growth.curve import Curve
from bench.growth.decisions import micros
from modelswap.config.plan import MemoryRouting
from modelswap.core.placement.memory.memory_policy import memory_policy
from modelswap.core.placement.policy import (
    RAM,
    DeviceId,
    DevicePool,
    Facts,
    Need,
    NeedSource,
    Question,
    Usage,
)
from modelswap.core.spec import ModelId
from modelswap.units import Bytes, Seconds

if TYPE_CHECKING:
    from collections.abc import Callable

LOADED = (8, 40, 200)
GPUS = tuple(DeviceId(f"gpu{number}") for number in range(4))
GIB = 1 << 30
TARGET = ModelId("target")
MOST = 2000
"""µs: the bound that issue 11 sets for 200 models on four devices."""


def question(loaded: int, gpu_gib: float) -> Question:
    """Ask for a model of so many GiB on GPUs that are full to the last byte."""
    chance = random.Random(loaded)  # noqa: S311 - repeatable, not secret
    names = [ModelId(f"m{number}") for number in range(loaded)]
    held = {
        name: {GPUS[at % 4]: Bytes(int(chance.uniform(1, 3) * GIB)), RAM: Bytes(GIB)}
        for at, name in enumerate(names)
    }
    used = {gpu: sum(sizes.get(gpu, 0) for sizes in held.values()) for gpu in GPUS}
    pools = [DevicePool(id=gpu, total=Bytes(size)) for gpu, size in used.items()]
    ram = DevicePool(id=RAM, total=Bytes((loaded + 8) * GIB))
    need = Need(
        fixed={RAM: Bytes(GIB)}, movable=Bytes(int(gpu_gib * GIB)), source=NeedSource.LEARNED
    )
    usage = {
        name: Usage(
            idle=Seconds(chance.uniform(0, 1000)), rate=chance.random(), resident=Seconds(100.0)
        )
        for name in names
    }
    facts = Facts(
        epoch=1,
        pools=[ram, *pools],
        needs={TARGET: need}
        | {name: Need(fixed=sizes, source=NeedSource.LEARNED) for name, sizes in held.items()},
        held=held,
        reload={name: Seconds(chance.uniform(1, 30)) for name in names},
    )
    return Question(TARGET, names, facts, usage.__getitem__)


def by_loaded(rounds: int, *, quick: bool) -> list[Curve]:
    """Who leaves for a model that fits on one GPU, and for one that needs two of them."""
    one = Curve("loaded models", "placing on one of 4 GPUs: CPU", "µs/decision", most=MOST)
    two = Curve("loaded models", "placing on two of 4 GPUs: CPU", "µs/decision", most=MOST)
    policy = memory_policy(MemoryRouting())

    def asking(about: Question) -> Callable[[], None]:
        def work() -> None:
            policy(about)

        return work

    for _ in range(rounds):
        for loaded in LOADED:
            alone = 2.0 * loaded / 4
            one.add(loaded, micros(asking(question(loaded, alone / 2)), 5 if quick else 50))
            two.add(loaded, micros(asking(question(loaded, alone * 1.3)), 5 if quick else 50))
    return [one, two]
