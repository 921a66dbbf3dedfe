"""Host and GPU samples, one hour of them.

Law: a thread of its own samples; the loop only reads what is there. A reading
that fails leaves a gap, never stops the sampling.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final

import msgspec

from modelswap.devices.gpus import Gpus
from modelswap.observe.logs.timestamps import rfc3339

if TYPE_CHECKING:
    from typing import Any

HOUR: Final = 3600.0
FIRST: Final = 1.0
"""Seconds until the first sample: a start-up has better things to do."""
_MIB: Final = 1 << 20


class Link(msgspec.Struct, frozen=True):
    name: str
    bytes_recv: int
    bytes_sent: int


class HostSample(msgspec.Struct, frozen=True, kw_only=True):
    timestamp: str
    cpu_util_per_core: list[float]
    mem_total_mb: int
    mem_used_mb: int
    mem_free_mb: int
    swap_total_mb: int
    swap_used_mb: int
    load_avg_1: float
    load_avg_5: float
    load_avg_15: float
    net_io: list[Link] | None


class GpuSample(msgspec.Struct, frozen=True, kw_only=True):
    timestamp: str
    id: int
    name: str
    uuid: str
    temp_c: int
    vram_temp_c: int
    gpu_util_pct: float
    mem_util_pct: float
    mem_used_mb: int
    mem_total_mb: int
    fan_speed_pct: float
    power_draw_w: float


def host_sample(stamp: str) -> HostSample:
    """One sample of this host; utilisation counts since the previous one."""
    import psutil  # noqa: PLC0415 -- loaded when needed: start-up time counts

    memory = psutil.virtual_memory()
    windows = sys.platform == "win32"
    swap = None if windows else psutil.swap_memory()
    load = (0.0, 0.0, 0.0) if windows else os.getloadavg()
    return HostSample(
        timestamp=stamp,
        cpu_util_per_core=psutil.cpu_percent(percpu=True),
        mem_total_mb=memory.total // _MIB,
        mem_used_mb=memory.used // _MIB,
        mem_free_mb=memory.free // _MIB,
        swap_total_mb=swap.total // _MIB if swap else 0,
        swap_used_mb=swap.used // _MIB if swap else 0,
        load_avg_1=load[0],
        load_avg_5=load[1],
        load_avg_15=load[2],
        net_io=None if sys.platform == "darwin" else _links(psutil.net_io_counters(pernic=True)),
    )


def _links(counters: dict[str, Any]) -> list[Link]:
    return [
        Link(name, io.bytes_recv, io.bytes_sent)
        for name, io in sorted(counters.items())
        if name != "lo"
    ]


def gpu_samples(gpus: Gpus, stamp: str) -> list[GpuSample]:
    """One sample of each GPU."""
    return [
        GpuSample(
            timestamp=stamp,
            mem_util_pct=r.mem_used_mb / r.mem_total_mb * 100 if r.mem_total_mb else 0.0,
            **r._asdict(),
        )
        for r in gpus.read()
    ]


class Performance:
    """The samples of the last hour."""

    def __init__(
        self, *, every: float = 5.0, disabled: bool = False, gpus: Gpus | None = None
    ) -> None:
        self.enabled = not disabled
        """Whether it was ever on: switched off by a reload means no samples, not no answer."""
        self._sampling = not disabled
        self._every = every
        self._gpus = gpus or Gpus()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._hosts: deque[tuple[int, HostSample]] = deque(maxlen=self._length())
        self._gpu_groups: deque[tuple[int, list[GpuSample]]] = deque(maxlen=self._length())

    def _length(self) -> int:
        return max(1, int(HOUR / self._every))

    def start(self) -> None:
        """Begin to sample, unless switched off."""
        if self._sampling and self._thread is None:
            self._stop = threading.Event()
            self._thread = threading.Thread(
                target=self._run, args=(self._stop,), name="performance", daemon=True
            )
            self._thread.start()

    def close(self, timeout: float = 1.0) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout)
            self._thread = None

    def configure(self, *, every: float, disabled: bool) -> None:
        """A reload: a changed interval clears the history, switching off empties it."""
        if every == self._every and disabled is not self._sampling:
            return
        self._stop.set()
        self._thread = None
        self._every = every
        self._sampling = not disabled
        self.enabled = self.enabled or self._sampling
        self._hosts = deque(maxlen=self._length())
        self._gpu_groups = deque(maxlen=self._length())
        self.start()

    def _run(self, stop: threading.Event) -> None:
        pause = min(FIRST, self._every)
        while not stop.wait(pause):
            pause = self._every
            self.sample()

    def sample(self) -> None:
        """Take one sample now. Not for the loop's thread."""
        import psutil  # noqa: PLC0415 -- loaded when needed: start-up time counts

        now = time.time_ns()
        stamp = rfc3339(now)
        with contextlib.suppress(psutil.Error, OSError, ValueError, RuntimeError):
            self._hosts.append((now, host_sample(stamp)))  # else a gap, which says enough
        if gpus := gpu_samples(self._gpus, stamp):
            self._gpu_groups.append((now, gpus))

    def latest(self) -> tuple[HostSample | None, list[GpuSample]]:
        """The newest sample of the host and of each GPU, those by id."""
        hosts, groups = self._hosts, self._gpu_groups
        gpus = sorted(groups[-1][1], key=lambda gpu: gpu.id) if groups else []
        return (hosts[-1][1] if hosts else None), gpus

    def report(self, after: int | None) -> dict[str, object]:
        """What `/api/performance` answers; `after` in nanoseconds, samples strictly newer."""
        floor = -1 if after is None else after
        hosts = [sample for at, sample in list(self._hosts) if at > floor]
        gpus = [gpu for at, group in list(self._gpu_groups) if at > floor for gpu in group]
        empty: list[object] | None = None if after is None else []
        return {"enabled": True, "gpu_stats": gpus or empty, "sys_stats": hosts or empty}
