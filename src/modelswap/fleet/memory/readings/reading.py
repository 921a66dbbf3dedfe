"""One reading: the memory of every device, and what each of our servers holds of it.

Does not: run on the event loop; drivers block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from modelswap.launch.local.processes import is_elsewhere, processes_of
from modelswap.memory.measuring import Sample

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from modelswap.core.spec import ModelId
    from modelswap.devices.capacity.reader import Held
    from modelswap.devices.memory import DeviceMemory, Holder


class MemoryReader(Protocol):
    """The part of `MachineReader` that a reading needs; its calls block, and raise OSError."""

    def read(self) -> tuple[DeviceMemory, ...]: ...
    def held(self, processes: Collection[int]) -> Held: ...
    def holders(self, device: DeviceMemory, ours: Collection[int] = ()) -> tuple[Holder, ...]: ...


class Reading(NamedTuple):
    devices: tuple[DeviceMemory, ...]
    samples: Mapping[ModelId, Sample]
    """Of each model whose process is known."""
    processes: frozenset[int]
    """Those of our servers."""


def read(
    reader: MemoryReader, servers: Mapping[ModelId, int], *, with_holders: bool = False
) -> Reading:
    """Read what the *servers* (model → pid) hold, and the devices.

    *with_holders*: find out, too, which other programs hold the memory; that looks at every process.

    Raises:
        OSError: a device does not answer.
    """
    trees = {model: processes_of(pid) for model, pid in servers.items()}
    held = {model: reader.held(tree) for model, tree in trees.items()}
    ours = frozenset(pid for tree in trees.values() for pid in tree)
    devices = reader.read()
    if with_holders:
        devices = tuple(d._replace(holders=reader.holders(d, ours)) for d in devices)
    samples = {
        model: Sample(held[model], is_elsewhere(tree), devices) for model, tree in trees.items()
    }
    return Reading(devices, samples, ours)
