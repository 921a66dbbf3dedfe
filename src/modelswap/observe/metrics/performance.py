"""Samples of host and GPUs over the last hour.

Guarantees: a thread takes the samples; the loop only reads them. A failed reading leaves a gap and
never stops the sampling.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections import deque
from typing import Final

import msgspec

from modelswap.devices.gpus import Gpus
from modelswap.observe.logs.timestamps import rfc3339
from modelswap.units import Bytes, Seconds

from . import host
from .host import Processors

HOUR: Final = Seconds(3600.0)  # samples are kept so long: the page draws one hour
FIRST: Final = Seconds(1.0)  # until the first sample, so that it does not slow the start-up
_MIB: Final = Bytes(1 << 20)  # the API reports memory in MiB


class NetworkInterface(msgspec.Struct, frozen=True):
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
    net_io: list[NetworkInterface] | None


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


def host_sample(stamp: str, processors: Processors) -> HostSample:
    """Take one sample of this host; utilisation counts since the previous one."""
    memory = host.memory()
    load = (0.0, 0.0, 0.0) if sys.platform == "win32" else os.getloadavg()
    interfaces: list[NetworkInterface] | None = None
    if sys.platform != "darwin":
        interfaces = [
            NetworkInterface(name, received, sent)
            for name, (received, sent) in sorted(host.traffic().items())
            if name != "lo"
        ]
    return HostSample(
        timestamp=stamp,
        cpu_util_per_core=processors.busy(),
        mem_total_mb=memory.total // _MIB,
        mem_used_mb=memory.used // _MIB,
        mem_free_mb=memory.free // _MIB,
        swap_total_mb=memory.swap_total // _MIB,
        swap_used_mb=memory.swap_used // _MIB,
        load_avg_1=load[0],
        load_avg_5=load[1],
        load_avg_15=load[2],
        net_io=interfaces,
    )


def gpu_samples(gpus: Gpus, stamp: str) -> list[GpuSample]:
    return [
        GpuSample(
            timestamp=stamp,
            mem_util_pct=r.mem_used_mb / r.mem_total_mb * 100 if r.mem_total_mb else 0.0,
            **r._asdict(),
        )
        for r in gpus.read()
    ]


class Performance:
    def __init__(
        self, *, every: Seconds = Seconds(5.0), disabled: bool = False, gpus: Gpus | None = None
    ) -> None:
        self.enabled = not disabled
        """Whether sampling was ever on: after a reload switched it off, the API reports no samples."""
        self._sampling = not disabled
        self._every = every
        self._gpus = gpus or Gpus()
        self._processors = Processors()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._hosts: deque[tuple[int, HostSample]] = deque(maxlen=self._length())
        self._gpu_groups: deque[tuple[int, list[GpuSample]]] = deque(maxlen=self._length())

    def _length(self) -> int:
        return max(1, int(HOUR / self._every))

    def start(self) -> None:
        if self._sampling and self._thread is None:
            self._stop = threading.Event()
            self._thread = threading.Thread(
                target=self._run, args=(self._stop,), name="performance", daemon=True
            )
            self._thread.start()

    def close(self, timeout: Seconds = Seconds(1.0)) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout)
            self._thread = None

    def configure(self, *, every: Seconds, disabled: bool) -> None:
        """Apply a reload: a changed interval and switching off clear the history."""
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
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            self._processors.busy()  # the first sample counts from here
        pause = min(FIRST, self._every)
        while not stop.wait(pause):
            pause = self._every
            self.sample()

    def sample(self) -> None:
        """Take one sample now. Not for the loop's thread."""
        now = time.time_ns()
        stamp = rfc3339(now)
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            self._hosts.append((now, host_sample(stamp, self._processors)))  # otherwise a gap
        if gpus := gpu_samples(self._gpus, stamp):
            self._gpu_groups.append((now, gpus))

    def latest(self) -> tuple[HostSample | None, list[GpuSample]]:
        """The newest sample of the host and of each GPU, sorted by id."""
        hosts, groups = self._hosts, self._gpu_groups
        gpus = sorted(groups[-1][1], key=lambda gpu: gpu.id) if groups else []
        return (hosts[-1][1] if hosts else None), gpus

    def report(self, after: int | None) -> dict[str, object]:
        """Show `/api/performance`: samples strictly newer than `after`, in nanoseconds since 1970."""
        floor = -1 if after is None else after
        hosts = [sample for at, sample in list(self._hosts) if at > floor]
        gpus = [gpu for at, group in list(self._gpu_groups) if at > floor for gpu in group]
        empty: list[object] | None = None if after is None else []
        return {"enabled": True, "gpu_stats": gpus or empty, "sys_stats": hosts or empty}
