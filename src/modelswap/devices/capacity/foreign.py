"""What other programs use of each device.

All that our servers could ever use together is what is free and what they hold: `total - foreign`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from modelswap.devices.memory import DeviceMemory


def foreign(reading: Iterable[DeviceMemory], ours: Mapping[str, int]) -> dict[str, int]:
    """Return the bytes that others use of each device.

    *ours*: what our servers hold together, by device; of `ram` without pages of files (`Held.own`), because the
    reading counts those as free. A device that *ours* lacks counts as used by others alone.
    """
    return {
        device.id: max(0, device.total - device.free - ours.get(device.id, 0)) for device in reading
    }
