"""From one reading of the devices to what is ours, what is foreign, and what each model counts for.

Guarantees: pure; all figures are bytes, none is negative.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from modelswap.core.placement.policy import RAM, DeviceId, DevicePool, NeedSource
from modelswap.units import Bytes

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from modelswap.core.placement.policy import Need, Placement
    from modelswap.devices.memory import DeviceMemory

    Amounts = Mapping[DeviceId, Bytes]

MOST_HOLDERS: Final = 3
"""Other programs that a message names: more do not fit into a line, and the first hold the most."""


class DeviceLimit(NamedTuple):
    """What the configuration says of one device; `None`: nothing."""

    capacity: Bytes | None = None
    reserve: Bytes = Bytes(0)


NO_LIMIT: Final = DeviceLimit()


def pools(
    devices: Sequence[DeviceMemory],
    limits: Mapping[DeviceId, DeviceLimit],
    ours: Amounts,
    our_processes: Collection[int],
) -> tuple[DevicePool, ...]:
    """Return the pool of each device, less what programs use that are not ours.

    A configured capacity is the part of the device that is for the models. The rest is for other
    programs: they shrink the models' part only by what they use beyond it. A device that only the
    configuration knows is free.
    """
    read = {device.id for device in devices}
    imagined = [
        DevicePool(id=name, total=limit.capacity, reserve=limit.reserve)
        for name, limit in limits.items()
        if name not in read and limit.capacity is not None
    ]
    found = (
        _pool(device, limits.get(DeviceId(device.id), NO_LIMIT), ours, our_processes)
        for device in devices
    )
    return (*found, *imagined)


def _pool(
    device: DeviceMemory, limit: DeviceLimit, ours: Amounts, our_processes: Collection[int]
) -> DevicePool:
    name = DeviceId(device.id)
    total = device.total if limit.capacity is None else limit.capacity
    others = max(0, device.total - device.free - ours.get(name, 0))
    foreign = max(0, others - max(0, device.total - total))
    holders = [
        (holder.name, Bytes(holder.bytes))
        for holder in device.holders
        if holder.pid not in our_processes
    ]
    return DevicePool(
        id=name,
        total=Bytes(total),
        reserve=limit.reserve,
        foreign=Bytes(foreign),
        holders=tuple(holders[:MOST_HOLDERS]) if foreign else (),
    )


def added(amounts: Iterable[Amounts]) -> dict[DeviceId, Bytes]:
    """Return the sum on each device."""
    total: dict[DeviceId, Bytes] = {}
    for amount in amounts:
        for device, size in amount.items():
            total[device] = Bytes(total.get(device, 0) + size)
    return total


def larger(one: Amounts, other: Amounts) -> dict[DeviceId, Bytes]:
    """Return the larger of both on each device."""
    return {
        device: max(one.get(device, Bytes(0)), other.get(device, Bytes(0)))
        for device in (*one, *(device for device in other if device not in one))
    }


def promised(need: Need, placement: Placement, measured: Amounts) -> dict[DeviceId, Bytes]:
    """Return what is set aside for a model that runs or starts, by what it needs now.

    The movable part lies where the model was measured to be, else where the policy put it.
    """
    if need.source is NeedSource.UNKNOWN:
        return dict(placement.promised)
    found = dict(need.fixed)
    weights = _movable(measured, need) or _movable(dict(placement.promised), need)
    if not weights:
        weights = dict.fromkeys(placement.devices, Bytes(1))
    whole = sum(weights.values())
    for device, weight in weights.items():
        found[device] = Bytes(found.get(device, 0) + need.movable * weight // whole)
    return found


def _movable(amounts: Amounts, need: Need) -> dict[DeviceId, Bytes]:
    return {
        device: size
        for device, size in amounts.items()
        if size > 0 and device != RAM and device not in need.fixed
    }
