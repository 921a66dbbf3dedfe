"""CPU time and memory of processes and of the machine, read from `/proc`."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

TICKS = os.sysconf("SC_CLK_TCK")
"""Clock ticks per second, the unit of the times in `/proc/<pid>/stat`."""
REST = 0.05
"""Seconds: work after the last byte counts, too."""


_MAPPING = re.compile(r"^(?=[0-9a-f]+-[0-9a-f]+ )", re.MULTILINE)
"""Where a mapping begins in `/proc/<pid>/smaps`."""


def cpu_seconds(pid: int) -> float:
    """CPU time of a process since its start, all threads, ended ones too.

    `stat` counts every thread but in steps of 10 ms; `schedstat` counts in
    nanoseconds but running threads only. The larger one is right in both cases.
    """
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    coarse = (int(fields[11]) + int(fields[12])) / TICKS
    fine = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            fine += int((task / "schedstat").read_text().split()[0])
        except OSError:
            continue  # the thread ended meanwhile
    return max(coarse, fine / 1e9)


def spent_seconds(pid: int, work: Callable[[], object]) -> float:
    """CPU seconds of a process while the work runs."""
    before = cpu_seconds(pid)
    work()
    time.sleep(REST)
    return cpu_seconds(pid) - before


def proportional_mb(pid: int) -> float:
    """Proportional set size: shared pages are divided among all processes that share them.

    It falls with every other Python that runs on the machine, the bench's own included.
    """
    return _mb(f"{pid}/smaps_rollup", "Pss:")


def together_mb(pids: Iterable[int]) -> float:
    """Memory of some processes together, their shared pages counted once.

    It does not depend on other processes of the machine. Of a part of a file that several map, the
    largest resident size counts.
    """
    own = 0
    files: dict[tuple[str, ...], int] = {}
    for pid in pids:
        for mapping, sizes in _mappings(pid):
            anonymous = sizes["Anonymous:"]
            own += anonymous
            files[mapping] = max(files.get(mapping, 0), sizes["Rss:"] - anonymous)
    return (own + sum(files.values())) / 1024


def _mappings(pid: int) -> Iterator[tuple[tuple[str, ...], dict[str, int]]]:
    """Yield offset, device and inode of each mapping of a file, and its sizes in KiB."""
    # A mapping begins with a line "addresses flags offset device inode path".
    for block in _MAPPING.split(Path(f"/proc/{pid}/smaps").read_text())[1:]:
        first, *lines = block.splitlines()
        sizes = {line.split()[0]: int(line.split()[1]) for line in lines if line.endswith(" kB")}
        yield tuple(first.split()[2:5]), sizes


def resident_mb(pid: int) -> float:
    """Resident set size, shared pages counted in full."""
    return _mb(f"{pid}/status", "VmRSS:")


def peak_mb(pid: int) -> float:
    """The highest resident set size so far."""
    return _mb(f"{pid}/status", "VmHWM:")


def open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def available_mb() -> float:
    """Memory of the machine that programs can still take."""
    return _mb("meminfo", "MemAvailable:")


def _mb(file: str, name: str) -> float:
    for line in Path("/proc", file).read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    raise ValueError(f"no {name} in /proc/{file}")
