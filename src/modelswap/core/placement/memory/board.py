"""What is free on each device, what each live model holds there, and where the target could go.

Units: bytes. A device is its position among the pools; a device that has no pool does not count.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Final, NamedTuple

from modelswap.core.placement.policy import RAM, UNKNOWN_NEED, NeedSource

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from modelswap.core.placement.policy import DeviceId, Facts, Need
    from modelswap.core.spec import ModelId
    from modelswap.units import Bytes

MOST_SPLITS: Final = 8
"""Sets of GPUs of one size that are compared: all pairs of four GPUs, and the roomiest of more."""

Held = tuple[tuple[int, int], ...]
"""What a model holds: device and bytes."""


class Demand(NamedTuple):
    """So many bytes on these devices together."""

    devices: tuple[int, ...]
    amount: int


class Option(NamedTuple):
    """One way to place the target: the GPUs that share its movable part, and what it demands."""

    gpus: tuple[int, ...]
    demands: tuple[Demand, ...]


class Board:
    def __init__(self, facts: Facts, models: Sequence[ModelId]) -> None:
        """*models* are the live ones beside the target."""
        self.pools = facts.pools
        self._at = {pool.id: at for at, pool in enumerate(facts.pools)}
        self.gpus = tuple(at for at, pool in enumerate(facts.pools) if pool.id != RAM)
        self.held: dict[ModelId, Held] = {}
        self.on: tuple[dict[ModelId, int], ...] = tuple({} for _ in facts.pools)
        """What the models hold, device by device."""
        self.free = [int(pool.room) for pool in facts.pools]
        """May be negative: other programs took what our models hold."""
        unsettled: list[tuple[ModelId, Need]] = []
        for model in models:
            held = facts.held.get(model)
            if held is None:
                unsettled.append((model, facts.needs.get(model, UNKNOWN_NEED)))
            else:
                self._enter(model, self._known(held))
        for model, need in unsettled:
            self._enter(model, self._assumed(need))

    def _enter(self, model: ModelId, held: Held) -> None:
        self.held[model] = held
        for device, size in held:
            self.free[device] -= size
            self.on[device][model] = size

    def _known(self, sizes: Mapping[DeviceId, Bytes]) -> Held:
        at = self._at
        return tuple([(at[device], size) for device, size in sizes.items() if device in at])

    def _assumed(self, need: Need) -> Held:
        """Return what a model holds of which only the need is known: its movable part is where most is free."""
        if need.source is NeedSource.UNKNOWN:
            return ()
        return self.placed(need, (self.roomiest(self.gpus)[0],) if self.gpus else (), self.free)

    def roomiest(self, gpus: Iterable[int]) -> list[int]:
        """Return GPUs by what is free on them, the most first."""
        return sorted(gpus, key=lambda device: (-self.free[device], device))

    def fixed(self, need: Need) -> dict[int, int]:
        """Return what a need demands of settled devices; without a GPU the movable part is in `ram`."""
        found = dict(self._known(need.fixed))
        if need.movable and not self.gpus:
            ram = self._at[RAM]
            found[ram] = found.get(ram, 0) + need.movable
        return {device: size for device, size in found.items() if size}

    def placed(self, need: Need, gpus: Sequence[int], free: Sequence[int]) -> Held:
        """Return what the target holds on each device, with its movable part on *gpus*.

        Several GPUs share it in proportion to what is free on them, as llama.cpp splits layers.
        """
        found = self.fixed(need)
        rooms = [max(0, free[gpu] - found.get(gpu, 0)) for gpu in gpus]
        rooms = rooms if any(rooms) else [1] * len(gpus)
        whole, before, given = sum(rooms), 0, 0
        for gpu, room in zip(gpus, rooms, strict=True):
            before += room
            share = need.movable * before // whole - given  # so that none is rounded above its room
            given += share
            found[gpu] = found.get(gpu, 0) + share
        return tuple(sorted(found.items()))

    def option(self, need: Need, gpus: tuple[int, ...]) -> Option:
        fixed = self.fixed(need)
        demands = [Demand((at,), size) for at, size in sorted(fixed.items()) if at not in gpus]
        if gpus:
            amount = need.movable + sum(fixed.get(gpu, 0) for gpu in gpus)
            demands.append(Demand(gpus, amount))
            if len(gpus) > 1:
                demands += [Demand((at,), fixed[at]) for at in gpus if at in fixed]
        return Option(gpus, tuple(demands))

    def singles(self, need: Need) -> list[Option]:
        """Return the ways that use one GPU at most for the movable part."""
        if not need.movable or not self.gpus:
            return [self.option(need, ())]
        return [self.option(need, (gpu,)) for gpu in self.gpus]

    def splits(self, need: Need) -> Iterator[list[Option]]:
        """Yield the ways that split the movable part, over two GPUs, then over three, and so on."""
        if not need.movable:
            return
        gpus = self.roomiest(self.gpus)
        for size in range(2, len(gpus) + 1):
            sets = sorted(
                combinations(gpus, size), key=lambda some: -sum(self.free[gpu] for gpu in some)
            )
            yield [self.option(need, tuple(sorted(some))) for some in sets[:MOST_SPLITS]]

    def missing(self, option: Option, free: Sequence[int]) -> list[tuple[Demand, int]]:
        """Return the demands that *free* does not meet, and the bytes that each is short of."""
        short = ((one, one.amount - sum(free[at] for at in one.devices)) for one in option.demands)
        return [(one, size) for one, size in short if size > 0]

    def freed(self, models: Iterable[ModelId]) -> list[int]:
        """Return what is free on each device when *models* have left."""
        free = list(self.free)
        for model in models:
            for device, size in self.held[model]:
                free[device] += size
        return free
