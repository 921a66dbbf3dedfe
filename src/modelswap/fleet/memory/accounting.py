"""From one reading of the devices to what is ours, what is foreign, and what each model counts for.

Guarantees: pure; all figures are bytes, none is negative.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from modelswap.config.plan import DeviceSettings
from modelswap.core.placement.memory.declared import reserve_of
from modelswap.core.placement.policy import RAM, DeviceId, DevicePool, NeedSource
from modelswap.units import Bytes

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from modelswap.core.placement.policy import Need, Placement
    from modelswap.devices.memory import DeviceMemory

    Amounts = Mapping[DeviceId, Bytes]

_UNSET: Final = DeviceSettings()
MOST_HOLDERS: Final = 3
"""Other programs that a message names: more do not fit into a line, and the first hold the most."""


def pools(
    devices: Sequence[DeviceMemory],
    settings: Mapping[DeviceId, DeviceSettings],
    ours: Amounts,
    our_processes: Collection[int],
) -> tuple[DevicePool, ...]:
    """Return the pool of each device, less what programs use that are not ours.

    A configured capacity is the part of the device that is for the models. The rest is for other
    programs and the default reserve: they shrink the models' part only by what they take beyond it. A
    device that only the configuration knows is free.
    """
    read = {device.id for device in devices}
    imagined = [
        DevicePool(id=name, total=one.capacity, reserve=reserve_of(name, one.capacity, one.reserve))
        for name, one in settings.items()
        if name not in read and one.capacity is not None
    ]
    found = (
        _pool(device, settings.get(DeviceId(device.id), _UNSET), ours, our_processes)
        for device in devices
    )
    return (*found, *imagined)


def _pool(
    device: DeviceMemory, settings: DeviceSettings, ours: Amounts, our_processes: Collection[int]
) -> DevicePool:
    name, size = DeviceId(device.id), Bytes(device.total)
    total = size if settings.capacity is None else settings.capacity
    rest = max(0, size - total)
    foreign = max(0, device.used_by_others(ours.get(name, 0)) - rest)
    reserve = settings.reserve
    if reserve is None:
        reserve = Bytes(max(0, reserve_of(name, size) - rest))
    holders = [
        (holder.name, Bytes(holder.bytes))
        for holder in device.holders
        if holder.pid not in our_processes
    ]
    return DevicePool(
        id=name,
        total=total,
        reserve=reserve,
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

    The movable part lies where the model was measured to be, else where the policy put it: on a machine
    without a GPU in `ram`.
    """
    if need.source is NeedSource.UNKNOWN:
        return dict(placement.promised)
    found = dict(need.fixed)
    weights = _movable(measured, need) or _movable(dict(placement.promised), need)
    if not weights:
        weights = dict.fromkeys(placement.devices, Bytes(1))
    if not weights and any(device == RAM for device, _ in placement.promised):
        weights = {RAM: Bytes(1)}
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
