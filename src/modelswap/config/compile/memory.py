"""Memory in the file: needs of models, and sizes of devices. Imported where the file has any.

Guarantees: a device's name is `ram`, `gpu0`, `gpu1`, …; in a model's need it may be `gpu`, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelswap.config.messages.found_value import FoundValue
from modelswap.config.plan import DeviceSettings
from modelswap.core.explaining.quantities import size_text
from modelswap.core.placement.memory.declared import ANY_DEVICE, ANY_GPU
from modelswap.core.placement.policy import RAM, DeviceId
from modelswap.deferred import regex
from modelswap.units import Bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modelswap.config.messages.diagnostics import Diagnostics
    from modelswap.config.plan import Plan
    from modelswap.config.schema.schema_memory import RawDevice
    from modelswap.config.tree.node import Path

_DEVICE = regex(r"ram|gpu(?:0|[1-9]\d*)")
_IN_NEED = regex(r"(?:ram|gpu(?:0|[1-9]\d*)?)?")


def needs(
    raw: Mapping[str, int | None] | None, path: Path, diagnostics: Diagnostics
) -> dict[DeviceId, Bytes]:
    """Return what a model declares by device; a size without a device is under an empty name."""
    found: dict[DeviceId, Bytes] = {}
    for name, size in (raw or {}).items():
        if not _IN_NEED.fullmatch(name):
            what = "expected ram, gpu, or a GPU such as gpu0"
            diagnostics.problem((*path, name), what, seen=FoundValue("", name))
        elif size is not None:
            found[DeviceId(name)] = Bytes(size)
    return found


def devices(
    raw: Mapping[str, RawDevice | None], diagnostics: Diagnostics
) -> dict[DeviceId, DeviceSettings]:
    """Return what the file says of each device that it names."""
    found: dict[DeviceId, DeviceSettings] = {}
    for name, one in raw.items():
        path = ("devices", name)
        if not _DEVICE.fullmatch(name):
            what = "expected ram, or a GPU such as gpu0"
            diagnostics.problem(path, what, seen=FoundValue("", name))
        elif one is not None:
            capacity = None if one.capacity is None else Bytes(one.capacity)
            reserve = None if one.reserve is None else Bytes(one.reserve)
            if capacity is not None and reserve is not None and reserve >= capacity:
                diagnostics.expected((*path, "reserve"), "less than the device's capacity")
            found[DeviceId(name)] = DeviceSettings(capacity=capacity, reserve=reserve)
    return found


def warn_of_too_large(plan: Plan, diagnostics: Diagnostics) -> None:
    """Warn of each model that declares more than the devices have by their configured capacity."""
    rooms = {
        device: Bytes(one.capacity - (one.reserve or 0))
        for device, one in plan.devices.items()
        if one.capacity is not None
    }
    if not rooms:
        return
    gpus = [room for device, room in rooms.items() if device != RAM]
    if gpus:
        rooms[ANY_GPU] = rooms[ANY_DEVICE] = Bytes(sum(gpus))
    elif RAM in rooms:
        rooms[ANY_DEVICE] = rooms[RAM]
    for model in plan.models.values():
        for device, size in model.memory.items():
            if size > rooms.get(device, size):
                path = ("models", model.id, "memory", *filter(None, (device,)))
                what = f"at most {size_text(rooms[device])}, which `devices` leaves"
                is_sure = device != ANY_DEVICE or bool(gpus)
                then = "so its requests are refused" + ("" if is_sure else " where there is no GPU")
                diagnostics.tolerated(path, what, then)
