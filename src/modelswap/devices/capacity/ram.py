"""The machine's memory as one device: what the kernel says, within the limits of control groups.

Guarantees: free is what a new process could take, so pages of files count as free, mapped ones too.
Does not: count swap.
"""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import Final

from modelswap import procfs
from modelswap.devices.memory import DeviceMemory

from .cgroups import limits_below

RAM: Final = "ram"
"""The id of this device."""


def read_ram(proc: Path = Path("/proc")) -> DeviceMemory:
    """Read size and free memory; raise OSError where the system does not tell."""
    total, free = _of_linux(proc) or _of_others()
    where = "memory"
    for limit in limits_below(total, proc):
        free = min(free, limit.free)
        if limit.total < total:
            total, where = limit.total, f"memory, limited by the cgroup {limit.group}"
    is_apple = sys.platform == "darwin" and platform.machine() == "arm64"
    return DeviceMemory(RAM, where, total, min(free, total), vendor="Apple" if is_apple else "")


def free_unmapped(proc: Path = Path("/proc")) -> int | None:
    """Return how many bytes of files can be read without driving mapped pages out; `None`: it is not told.

    llama.cpp maps the weights that it runs from.
    """
    found = _of_linux(proc)
    if found is None:
        return None
    total, free = found
    limited = [limit.free - limit.mapped for limit in limits_below(total, proc)]
    return min([free - procfs.sizes(f"{proc}/meminfo").get(b"Mapped:", 0), *limited])


def sharing_processes(proc: Path = Path("/proc")) -> list[int]:
    """Return the processes that use this memory: those of the cgroup that limits it most, else all."""
    total, free = _of_linux(proc) or (0, 0)
    limits = [limit for limit in limits_below(total, proc) if limit.free < free]
    if not limits:
        return procfs.all_pids()
    return min(limits, key=lambda limit: limit.free).processes()


def _of_linux(proc: Path) -> tuple[int, int] | None:
    found = procfs.sizes(f"{proc}/meminfo")
    total, available = found.get(b"MemTotal:", 0), found.get(b"MemAvailable:", 0)
    if not 0 < available <= total:  # an old kernel, and some containers
        return None
    return total, min(total, available + _zfs_cache(proc))


def _zfs_cache(proc: Path) -> int:
    """Return what OpenZFS's cache would give up: the kernel does not count it as available."""
    lines = procfs.read_bytes(f"{proc}/spl/kstat/zfs/arcstats").split(b"\n")
    rows = [line.split() for line in lines]
    found = {row[0]: int(row[2]) for row in rows if len(row) == 3 and row[2].isdigit()}  # noqa: PLR2004 - name, type, value
    return max(0, found.get(b"size", 0) - found.get(b"c_min", 0))


def _of_others() -> tuple[int, int]:
    import psutil  # noqa: PLC0415 - large; Linux does not need it

    try:
        memory = psutil.virtual_memory()
    except (psutil.Error, RuntimeError) as error:
        raise OSError(f"the size of the memory cannot be read: {error}") from error
    return memory.total, memory.available
