"""A stopped server has left when its GPU memory is seen to be free again.

Drivers give memory back up to seconds after the process is gone; a model that is started meanwhile
finds it taken. So this launcher stands before another one and passes the exit of a server that was
stopped on only when the devices' totals have fallen again, or `PATIENCE` is over.

Totals, because per-process figures lie (containers, MIG, WDDM). What a server took is the difference
between the totals before its start and when it was ready. Who took nothing is not waited for, nor a
server that died by itself: its requests must hear of that at once. Readings are never on the loop.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from modelswap.core.failure import ProbeObservation

    from .protocol import Exit, Launcher, LaunchSpec, Listener, RunningServer

PATIENCE: Final = 5.0
PAUSE: Final = 0.05
SLACK: Final = 64 << 20
"""Bytes that do not count: other programs come and go, and a context is small."""
SHARE: Final = 0.8
"""Of what the server took has to be free again."""
_NVIDIA: Final = ("/dev/nvidiactl", "/dev/dxg")
_DRM: Final = Path("/sys/class/drm")

Totals = tuple[int, ...]
"""Used bytes of each device; empty: not known."""


@dataclass(slots=True, eq=False)
class MemoryBaseline:
    """What the devices said around one server's life."""

    before: Totals = ()
    ready: Totals = ()
    stop: Totals = ()
    is_stopping: bool = False

    def took(self) -> Totals:
        """Return what the server took of each device."""
        if len(self.before) != len(self.ready):
            return ()
        return tuple(
            max(0, after - first) for first, after in zip(self.before, self.ready, strict=True)
        )

    def is_settled(self, now: Totals) -> bool:
        """Whether what it took is free again: as before its start, or fallen by nearly as much."""
        took, stop = self.took(), self.stop or self.ready
        if not len(now) == len(took) == len(stop):
            return True  # a device came or went: nothing can be said
        devices = zip(now, took, self.before, stop, strict=True)
        return all(
            used <= max(before + SLACK, high - SHARE * size)
            for used, size, before, high in devices
            if size > SLACK
        )


class MemoryReleaseLauncher:
    """A `Launcher` before another one, and its `Listener`."""

    def __init__(
        self,
        make: Callable[[Listener], Launcher],
        listener: Listener,
        read: Callable[[], Totals],
        *,
        patience: float = PATIENCE,
        is_ending: Callable[[], bool] = lambda: False,
    ) -> None:
        """*is_ending*: nothing will be started any more, so nothing is waited for."""
        self._inner = make(self)
        self._listener = listener
        self._read = read
        self._patience = patience
        self._is_ending = is_ending
        self._marks: dict[str, MemoryBaseline] = {}
        self._is_closed = False
        self._curious: list[Callable[[Totals], None]] = []
        """Who wants the reading that is under way."""

    # Orders

    async def open(self) -> None:
        self._look(lambda _: None)  # the driver's own start takes long
        await self._inner.open()

    async def close(self, *, stop_servers: bool) -> None:
        self._is_closed = True
        await self._inner.close(stop_servers=stop_servers)

    def adopted(self) -> list[RunningServer]:
        return self._inner.adopted()

    def adopt(self, job: LaunchSpec, *, as_it_is: bool = False) -> bool:
        return self._inner.adopt(job, as_it_is=as_it_is)

    async def discard(self, *models: str) -> None:
        await self._inner.discard(*models)

    def start(self, job: LaunchSpec) -> None:
        mark = self._marks[job.model] = MemoryBaseline()
        self._look(lambda totals: setattr(mark, "before", totals))
        self._inner.start(job)

    def terminate(self, model: str) -> None:
        self._note_stop(model)
        self._inner.terminate(model)

    def kill(self, model: str) -> None:
        self._note_stop(model)
        self._inner.kill(model)

    def _note_stop(self, model: str) -> None:
        mark = self._marks.get(model)
        if mark is not None and not mark.is_stopping:
            mark.is_stopping = True
            self._look(lambda totals: setattr(mark, "stop", totals))

    def last_look(self, model: str) -> ProbeObservation | None:
        return self._inner.last_look(model)

    # News

    def on_spawned(self, model: str, pid: int) -> None:
        self._listener.on_spawned(model, pid)

    def on_ready(self, model: str) -> None:
        mark = self._marks.get(model)
        if mark is not None:
            self._look(lambda totals: setattr(mark, "ready", totals))
        self._listener.on_ready(model)

    def on_output(self, model: str, data: bytes) -> None:
        self._listener.on_output(model, data)

    def on_trouble(self, model: str, what: str) -> None:
        self._listener.on_trouble(model, what)

    def on_exited(self, model: str, ending: Exit) -> None:
        mark = self._marks.pop(model, None)
        if mark is not None and self._is_awaited(mark):
            self._wait(mark, partial(self._listener.on_exited, model, ending))
        else:
            self._listener.on_exited(model, ending)

    # Inside

    def _is_awaited(self, mark: MemoryBaseline) -> bool:
        took_much = max(mark.took(), default=0) > SLACK
        return mark.is_stopping and took_much and not self._is_ending()

    def _wait(self, mark: MemoryBaseline, tell: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        is_told = False

        def end() -> None:
            nonlocal is_told
            is_told = True
            late.cancel()
            if not self._is_closed:
                tell()

        def judge(totals: Totals) -> None:
            if is_told or self._is_closed:
                return
            if mark.is_settled(totals) or self._is_ending():
                end()
            else:
                loop.call_later(PAUSE, self._look, judge)

        late = loop.call_later(self._patience, end)  # also when no reading comes back
        self._look(judge)

    def _look(self, use: Callable[[Totals], None]) -> None:
        """Read the devices on another thread; a reading that fails knows nothing.

        One at a time, and never on the loop's own threads: a driver may hang for ever, and must
        then take neither those nor the end of the program with it.
        """
        self._curious.append(use)
        if len(self._curious) > 1:
            return  # the reading under way will do
        loop = asyncio.get_running_loop()
        reading = threading.Thread(target=self._take, args=(loop,), name="gpu memory", daemon=True)
        try:
            reading.start()
        except RuntimeError:  # no thread to be had
            loop.call_soon(self._spread, ())

    def _take(self, loop: asyncio.AbstractEventLoop) -> None:
        totals: Totals = ()
        with suppress(Exception):  # whatever the driver says: not knowing is an answer
            totals = self._read()
        with suppress(RuntimeError):  # the loop has closed: nobody is left to tell
            loop.call_soon_threadsafe(self._spread, totals)

    def _spread(self, totals: Totals) -> None:
        curious, self._curious = self._curious, []
        for use in curious:
            use(totals)


class Devices:
    """The GPUs of this machine: NVIDIA's by NVML, AMD's by sysfs."""

    def __init__(self, amd: Sequence[Path]) -> None:
        self._amd = amd
        self._lock = threading.Lock()
        self._nvml: Any = None
        self._handles: list[Any] | None = None

    def used(self) -> Totals:
        with self._lock:
            if self._handles is None:
                self._handles = self._open()
            nvidia = [int(self._nvml.nvmlDeviceGetMemoryInfo(h).used) for h in self._handles]
        return (*nvidia, *(int(file.read_text(encoding="ascii")) for file in self._amd))

    def _open(self) -> list[Any]:
        with suppress(ImportError):
            import pynvml  # noqa: PLC0415 - large; only where there is such a device

            nvml: Any = pynvml
            with suppress(pynvml.NVMLError):
                nvml.nvmlInit()
                self._nvml = nvml
                return [
                    nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())
                ]
        return []


def devices(drm: Path = _DRM) -> Devices | None:
    """Return the machine's GPUs; `None` where there are none, and nothing is to be waited for."""
    amd = sorted(drm.glob("card*/device/mem_info_vram_used"))
    if not amd and not any(Path(file).exists() for file in _NVIDIA):
        return None
    return Devices(amd)
