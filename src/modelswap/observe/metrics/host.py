"""What this machine does: processors, memory, network.

On Linux it is read from `/proc`, as psutil reads it: importing psutil costs 1.2 MB, and time in which
requests wait for the interpreter. Elsewhere, and where `/proc` lacks something, psutil is asked.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelswap.deferred import dataclass
from modelswap.units import Bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

_KIB: Final = Bytes(1 << 10)  # `/proc/meminfo` counts in it
_PROC: Final = Path("/proc")
_IS_LINUX: Final[bool] = sys.platform == "linux"
_IDLE: Final = (3, 4)
"""Columns of `/proc/stat`: idle, and idle while input or output is waited for."""
_COUNTED: Final = 8
"""Columns of `/proc/stat`; those behind are in the first two already: the time of guests."""


@dataclass(frozen=True, slots=True)
class HostMemory:
    total: Bytes
    used: Bytes
    free: Bytes
    swap_total: Bytes
    swap_used: Bytes


def memory(proc: Path = _PROC) -> HostMemory:
    """May raise OSError, ValueError or RuntimeError."""
    if _IS_LINUX:
        found = _memory_of_linux((proc / "meminfo").read_text("ascii"))
        if found is not None:
            return found
    import psutil  # noqa: PLC0415 - see above

    main = psutil.virtual_memory()
    swap = None if sys.platform == "win32" else psutil.swap_memory()
    return HostMemory(
        Bytes(main.total),
        Bytes(main.used),
        Bytes(main.free),
        Bytes(swap.total if swap else 0),
        Bytes(swap.used if swap else 0),
    )


def _memory_of_linux(meminfo: str) -> HostMemory | None:
    lines = (line.split() for line in meminfo.splitlines())
    found = {words[0]: Bytes(int(words[1]) * _KIB) for words in lines}
    try:
        total, free = found["MemTotal:"], found["MemFree:"]
        available = found["MemAvailable:"]
        swap, swap_free = found["SwapTotal:"], found["SwapFree:"]
    except KeyError:
        return None
    if not 0 < available <= total:  # in some containers
        return None
    return HostMemory(total, Bytes(total - available), free, swap, Bytes(swap - swap_free))


def traffic(proc: Path = _PROC) -> dict[str, tuple[int, int]]:
    """Return the bytes received and sent of each network interface. May raise as `memory` does."""
    if _IS_LINUX:
        return dict(_traffic_of_linux((proc / "net/dev").read_text()))
    import psutil  # noqa: PLC0415 - see above

    interfaces = psutil.net_io_counters(pernic=True)
    return {name: (io.bytes_recv, io.bytes_sent) for name, io in interfaces.items()}


def _traffic_of_linux(dev: str) -> Iterator[tuple[str, tuple[int, int]]]:
    for line in dev.splitlines()[2:]:  # below two of headings
        name, _, figures = line.rpartition(":")
        columns = figures.split()
        yield name.strip(), (int(columns[0]), int(columns[8]))


class Processors:
    """How busy each processor has been since it was asked the last time."""

    def __init__(self, proc: Path = _PROC) -> None:
        self._stat = proc / "stat"
        self._before: dict[str, list[int]] = {}

    def busy(self) -> list[float]:
        """Return a percentage for each, of the time since the last call. May raise as `memory` does."""
        if not _IS_LINUX:
            import psutil  # noqa: PLC0415 - see above

            return psutil.cpu_percent(percpu=True)
        before, now = self._before, _times_of_linux(self._stat.read_text("ascii"))
        self._before = now
        return [_percent(before.get(name, times), times) for name, times in now.items()]


def _times_of_linux(stat: str) -> dict[str, list[int]]:
    """Return the ticks in each state, of each processor."""
    lines = (line.split() for line in stat.splitlines() if line.startswith("cpu"))
    return {
        words[0]: [int(word) for word in words[1 : _COUNTED + 1]]
        for words in lines
        if words[0] != "cpu"  # the sum
    }


def _percent(before: list[int], now: list[int]) -> float:
    spent = [max(0, late - early) for early, late in zip(before, now, strict=True)]
    whole = sum(spent)
    busy = whole - sum(spent[column] for column in _IDLE)
    return round(busy / whole * 100, 1) if whole else 0.0
