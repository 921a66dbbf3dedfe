"""One reading: the memory of every device, and what each of our servers holds of it.

Does not: run on the event loop; drivers block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from modelswap.core.placement.policy import DeviceId
from modelswap.procfs import subtree
from modelswap.units import Bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modelswap.core.spec import ModelId
    from modelswap.devices.memory import DeviceMemory, DeviceReader


class Reading(NamedTuple):
    devices: tuple[DeviceMemory, ...]
    measured: Mapping[ModelId, Mapping[DeviceId, Bytes]]
    """What each model's processes hold; a model whose process is not known is not listed."""
    processes: frozenset[int]
    """Those of our servers."""


def read(reader: DeviceReader, servers: Mapping[ModelId, int]) -> Reading:
    """Read the devices, then what the process trees of *servers* (model → pid) hold.

    Raises:
        OSError: a device does not answer.
    """
    trees = {model: subtree((pid,)) for model, pid in servers.items()}
    measured = {
        model: {DeviceId(device): Bytes(size) for device, size in reader.held_by(tree).items()}
        for model, tree in trees.items()
    }
    ours = frozenset(pid for tree in trees.values() for pid in tree)
    return Reading(reader.read(), measured, ours)
