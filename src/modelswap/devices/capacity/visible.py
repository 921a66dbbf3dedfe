"""Which GPUs a model server would see: the environment of this program, which each inherits, may hide some."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modelswap.devices.memory import DeviceMemory

_VARIABLES: Final = {
    "NVIDIA": ("CUDA_VISIBLE_DEVICES",),
    "AMD": ("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"),
}
"""By vendor, each applied to what the one before left visible."""


def visible(
    devices: tuple[DeviceMemory, ...], environ: Mapping[str, str]
) -> tuple[DeviceMemory, ...]:
    """Return the devices that are not hidden, in their order.

    Numbers count in the order of the PCI bus, as with `CUDA_DEVICE_ORDER=PCI_BUS_ID`; without that, CUDA counts GPUs
    of different kinds from the fastest on, which is not known here.
    """
    for vendor, variables in _VARIABLES.items():
        for variable in variables:
            if variable in environ:
                of_vendor = [device for device in devices if device.vendor == vendor]
                shown = _shown(of_vendor, environ[variable])
                devices = tuple(d for d in devices if d.vendor != vendor or d in shown)
    return devices


def _shown(devices: list[DeviceMemory], value: str) -> list[DeviceMemory]:
    """Read a list of numbers, and of UUIDs or their beginnings; the first that names none ends it."""
    shown: list[DeviceMemory] = []
    for entry in map(str.strip, value.split(",")):
        if entry.isdecimal():
            named = devices[int(entry) : int(entry) + 1]
        else:
            named = [device for device in devices if entry and device.key.startswith(entry)]
        if len(named) != 1:
            break
        shown += named
    return shown
