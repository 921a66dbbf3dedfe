"""The memory of NVIDIA's GPUs, asked through NVML: whole cards and MIG instances.

Devices are numbered in NVML's order, that of the PCI bus. CUDA's own numbers may differ (the fastest first), so
the key of each is its UUID.

Guarantees: a card keeps its number while others fail. A card that shares the machine's memory (Jetson, GB10) has
none of its own, and is not listed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from modelswap import procfs
from modelswap.devices.memory import DeviceMemory, Holder

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from modelswap.devices.nvml import Nvml

VENDOR: Final = "NVIDIA"
_NOT_SUPPORTED: Final = 3
"""`NVML_ERROR_NOT_SUPPORTED`."""
_HOST_NAMESPACE: Final = "pid:[4026531836]"
"""The process ids of the machine itself: `PROC_PID_INIT_INO` of the kernel."""


class _Device(NamedTuple):
    id: str
    handle: Any
    name: str
    key: str


class NvidiaMemory:
    """One open driver; not for two threads at once."""

    def __init__(self, library: Nvml) -> None:
        self._nvml = library
        self._devices = tuple(self._find())

    @property
    def count(self) -> int:
        """How many numbers its devices take."""
        return max((int(device.id.removeprefix("gpu")) + 1 for device in self._devices), default=0)

    def close(self) -> None:
        self._nvml.close()

    def read(self) -> list[DeviceMemory]:
        """Return each device with its memory; raise OSError when one does not answer."""
        found = [(device, self._memory(device)) for device in self._devices]
        return [
            DeviceMemory(
                device.id,
                device.name,
                int(memory.total),
                int(memory.free),
                tuple(self._holders(self._processes(device))),
                device.key,
                VENDOR,
            )
            for device, memory in found
            if memory is not None
        ]

    def held_by(self, processes: Collection[int]) -> dict[str, int]:
        """Return the bytes that the processes hold; a device that does not tell is left out."""
        tables = {device.id: self._processes(device) for device in self._devices}
        is_told = any(pid in processes for table in tables.values() for pid in table)
        return {
            device: sum(table[pid] or 0 for pid in processes if pid in table)
            for device, table in tables.items()
            if is_complete(table, is_told=is_told)
        }

    def _find(self) -> Iterator[_Device]:
        number = 0
        for index, handle in self._nvml.handles():
            number = max(number, index)  # a card that failed at the start keeps its number
            for part in self._parts(handle):
                name, key = (
                    self._nvml.ask("DeviceGetName", part),
                    self._nvml.ask("DeviceGetUUID", part),
                )
                yield _Device(f"gpu{number}", part, name or "NVIDIA GPU", key or str(index))
                number += 1

    def _parts(self, handle: Any) -> list[Any]:
        """Return the card, or its MIG instances: with MIG on, nothing runs on the card itself."""
        mode = self._nvml.ask("DeviceGetMigMode", handle)
        if not mode or not mode[0]:
            return [handle]
        count = self._nvml.ask("DeviceGetMaxMigDeviceCount", handle) or 0
        parts = [self._nvml.ask("DeviceGetMigDeviceHandleByIndex", handle, i) for i in range(count)]
        return [part for part in parts if part is not None]

    def _memory(self, device: _Device) -> Any:
        """Return the device's figures; `None` where it has no memory of its own."""
        try:
            return self._nvml.memory(device.handle)
        except self._nvml.error as error:
            if getattr(error, "value", None) == _NOT_SUPPORTED:
                return None
            raise OSError(f"{device.id} ({device.name}) does not answer: {error}") from error

    def _holders(self, table: dict[int, int | None]) -> Iterable[Holder]:
        found = [
            Holder(*self._process(pid), size) for pid, size in table.items() if size is not None
        ]
        return sorted(found, key=lambda holder: -holder.bytes)

    def _process(self, pid: int) -> tuple[int, str]:
        """Return number and name of a process; in another container it has no number here."""
        if (name := procfs.name_of(pid)) != "?":
            return pid, name
        return 0, (self._nvml.ask("SystemGetProcessName", pid) or name).rpartition("/")[2]

    def _processes(self, device: _Device) -> dict[int, int | None]:
        """Return the bytes of each process on a device; `None`: the driver does not tell."""
        found: dict[int, int | None] = {}
        for kind in ("Compute", "Graphics"):
            for one in self._nvml.ask(f"DeviceGet{kind}RunningProcesses", device.handle) or ():
                # A process of both kinds is listed twice, each time with all that it holds.
                known = found.get(one.pid)
                found[one.pid] = (
                    known if one.usedGpuMemory is None else max(known or 0, one.usedGpuMemory)
                )
        return found


def is_complete(table: dict[int, int | None], *, is_told: bool) -> bool:
    """Whether a device's table of processes can be trusted to list a process of ours.

    *is_told*: a process of ours is in the table of some device. Drivers for Windows tell no bytes, and in a
    container the processes are missing, or numbered as the host does.
    """
    if None in table.values():
        return False
    return is_told or procfs.pid_namespace() in ("", _HOST_NAMESPACE)
