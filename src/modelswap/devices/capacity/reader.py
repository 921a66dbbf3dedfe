"""Reads the memory of this machine's devices, and what processes hold of it.

Guarantees: no driver's library is loaded where its device is not. A driver that failed is asked again.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from modelswap import procfs
from modelswap.devices import nvml
from modelswap.devices.amd import DRM
from modelswap.devices.memory import Holder

from . import amdgpu
from .nvidia import NvidiaMemory
from .process_memory import memory_of
from .ram import RAM, read_ram, sharing_processes
from .visible import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from modelswap.devices.memory import DeviceMemory

MOST_HOLDERS: Final = 5
"""Processes named of a device: more would not fit into a message."""


class Held(NamedTuple):
    """What some processes hold together, in bytes."""

    by_device: Mapping[str, int]
    """A device that does not tell is left out."""
    file_pages: int = 0
    """The part of `ram` that is pages of mapped files, such as a model's weights: the kernel can take them."""

    @property
    def own(self) -> dict[str, int]:
        """The same without the pages of files."""
        return {**self.by_device, RAM: self.by_device.get(RAM, 0) - self.file_pages}


class MachineReader:
    """Threads may share it; calls block."""

    def __init__(
        self,
        *,
        proc: Path = Path("/proc"),
        drm: Path = DRM,
        open_nvml: Callable[[], nvml.Nvml | None] = nvml.Nvml.open,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._proc = proc
        self._drm = drm
        self._open_nvml = open_nvml
        self._environ = environ
        self._lock = threading.Lock()
        self._nvidia: NvidiaMemory | None = None
        self._amd: list[amdgpu.AmdDevice] | None = None

    def read(self) -> tuple[DeviceMemory, ...]:
        """Return every device that a server would see, `ram` first; raise OSError when one does not answer."""
        with self._lock:
            nvidia = self._open_nvidia()
            found = [read_ram(self._proc)]
            found += [] if nvidia is None else nvidia.read()
            found += [amdgpu.read(device) for device in self._cards() if not device.is_unified]
        return visible(tuple(found), self._environ)

    def held(self, processes: Collection[int]) -> Held:
        """Return what these processes hold of each device."""
        memory = memory_of(processes)
        shared = 0
        found: dict[str, int] = {}
        with self._lock:
            nvidia = self._open_nvidia()
            if nvidia is not None:
                found |= nvidia.held_by(processes)
            cards = self._cards()
        by_bus = amdgpu.memory_by_bus(processes if cards else ())
        for card in cards:
            held = by_bus.get(card.bus, amdgpu.ClientMemory(0, 0))
            if card.is_unified:
                shared += held.vram + held.gtt
            else:
                found[card.id] = held.vram
        return Held({RAM: memory.own + memory.file + shared, **found}, memory.file)

    def holders(self, device: DeviceMemory, ours: Collection[int] = ()) -> tuple[Holder, ...]:
        """Find the largest holders of a device that are not among *ours*; looks at every process."""
        if device.id == RAM:
            others = [pid for pid in sharing_processes(self._proc) if pid not in ours]
            found = [Holder(pid, procfs.name_of(pid), memory_of([pid]).own) for pid in others]
        elif device.vendor == amdgpu.VENDOR:
            found = self._holders_of_card(device.id, ours)
        else:
            found = [holder for holder in device.holders if holder.pid not in ours]
        found = [holder for holder in found if holder.bytes > 0]
        return tuple(sorted(found, key=lambda holder: -holder.bytes)[:MOST_HOLDERS])

    def close(self) -> None:
        with self._lock:
            if self._nvidia is not None:
                self._nvidia.close()
                self._nvidia = None

    def _open_nvidia(self) -> NvidiaMemory | None:
        if self._nvidia is None and (library := self._open_nvml()) is not None:
            self._nvidia = NvidiaMemory(library)
            self._amd = None  # their numbers follow
        return self._nvidia

    def _cards(self) -> list[amdgpu.AmdDevice]:
        if self._amd is None:
            self._amd = amdgpu.find(self._drm, 0 if self._nvidia is None else self._nvidia.count)
        return self._amd

    def _holders_of_card(self, device: str, ours: Collection[int]) -> list[Holder]:
        (bus,) = [card.bus for card in self._cards() if card.id == device] or [""]
        held = {pid: amdgpu.memory_by_bus([pid]) for pid in procfs.all_pids() if pid not in ours}
        return [
            Holder(pid, procfs.name_of(pid), by_bus[bus].vram)
            for pid, by_bus in held.items()
            if bus in by_bus
        ]
