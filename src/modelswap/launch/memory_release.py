"""A launcher before another one: reports an exit only when the server's GPU memory is free again.

Drivers give memory back up to seconds after the process has exited; a server that is started meanwhile
finds it in use. So the exit of a server that was asked to stop is passed on only when the devices'
totals have fallen again, or `RELEASE_TIMEOUT` is over. Totals are read, because figures per process are
wrong in containers, with MIG and with WDDM.

Does not: wait for a server that took nothing, or for one that exited by itself, because its requests
must hear of that at once; read devices on the event loop.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from modelswap.deferred import dataclass
from modelswap.units import Bytes, Seconds

from .protocol import NO_CAPABILITIES

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelswap.core.spec import ServerId

    from .protocol import Capability, Exit, Launcher, LaunchSpec, Listener

RELEASE_TIMEOUT: Final = Seconds(5.0)
"""Drivers were seen to take up to two seconds for 80 GB."""
READ_PAUSE: Final = Seconds(0.01)
"""Between two readings, each about a millisecond in a thread; the next server waits half of it in vain."""
SLACK: Final = Bytes(64 << 20)
"""Does not count: other programs come and go, and a context is small."""
RELEASED_SHARE: Final = 0.8
"""Of what the server took, this much has to be free again: the rest may be another program's."""

Totals = tuple[int, ...]
"""Used bytes of each device; empty: not known."""


@dataclass(slots=True, eq=False)
class MemoryBaseline:
    """The devices' totals around one server."""

    before: Totals = ()
    ready: Totals = ()
    stop: Totals = ()
    is_stopping: bool = False

    def took(self) -> Totals:
        """Return what the server took of each device until it was ready."""
        if len(self.before) != len(self.ready):
            return ()
        pairs = zip(self.before, self.ready, strict=True)
        return tuple(max(0, ready - before) for before, ready in pairs)

    def is_settled(self, now: Totals) -> bool:
        """Whether what it took is free again: as before its start, or fallen by nearly as much."""
        took, stop = self.took(), self.stop or self.ready
        if not len(now) == len(took) == len(stop):
            return True  # a device appeared or vanished: nothing is known
        devices = zip(now, took, self.before, stop, strict=True)
        return all(
            used <= max(before + SLACK, high - RELEASED_SHARE * size)
            for used, size, before, high in devices
            if size > SLACK
        )


class BackgroundReader:
    """Reads on threads of its own, one reading at a time; its result is for all who ask meanwhile.

    The loop's own threads are not used: a driver that hangs for ever would block the program's end.
    """

    def __init__(self, read: Callable[[], Totals]) -> None:
        self._read = read
        self._callbacks: list[Callable[[Totals], None]] = []
        """Of the reading that is under way."""

    def read(self, callback: Callable[[Totals], None]) -> None:
        """Read, and call back on the loop; a reading that fails is empty."""
        self._callbacks.append(callback)
        if len(self._callbacks) > 1:
            return
        loop = asyncio.get_running_loop()
        thread = threading.Thread(target=self._run, args=(loop,), name="gpu memory", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no thread to be had
            loop.call_soon(self._on_reading, ())

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        totals: Totals = ()
        with suppress(Exception):  # any error of the driver means: not known
            totals = self._read()
        with suppress(RuntimeError):  # the loop has closed
            loop.call_soon_threadsafe(self._on_reading, totals)

    def _on_reading(self, totals: Totals) -> None:
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(totals)


class MemoryReleaseLauncher:
    """A `Launcher` before another one, and its `Listener`."""

    capabilities: frozenset[Capability] = NO_CAPABILITIES
    """Those of the other launcher are not passed on."""

    def __init__(
        self,
        make: Callable[[Listener], Launcher],
        listener: Listener,
        read: Callable[[], Totals],
        *,
        timeout: Seconds = RELEASE_TIMEOUT,
        is_ending: Callable[[], bool] = lambda: False,
    ) -> None:
        """*is_ending*: nothing will be started any more, so nothing is waited for."""
        self._launcher = make(self)
        self._listener = listener
        self.found_servers = self._launcher.found_servers
        self.adopt = self._launcher.adopt
        self.discard = self._launcher.discard
        self.last_observation = self._launcher.last_observation
        self.on_started = listener.on_started
        self.on_output = listener.on_output
        self.on_trouble = listener.on_trouble
        self._reader = BackgroundReader(read)
        self._timeout = timeout
        self._is_ending = is_ending
        self._baselines: dict[ServerId, MemoryBaseline] = {}
        self._is_closed = False

    # Orders

    async def open(self) -> None:
        self._reader.read(lambda _: None)  # the driver's own start takes long
        await self._launcher.open()

    async def close(self, *, stop_servers: bool) -> None:
        self._is_closed = True
        await self._launcher.close(stop_servers=stop_servers)

    def start(self, spec: LaunchSpec) -> None:
        baseline = self._baselines[spec.server] = MemoryBaseline()
        self._reader.read(lambda totals: setattr(baseline, "before", totals))
        self._launcher.start(spec)

    def terminate(self, server: ServerId) -> None:
        self._note_stop(server)
        self._launcher.terminate(server)

    def kill(self, server: ServerId) -> None:
        self._note_stop(server)
        self._launcher.kill(server)

    def _note_stop(self, server: ServerId) -> None:
        baseline = self._baselines.get(server)
        if baseline is not None and not baseline.is_stopping:
            baseline.is_stopping = True
            self._reader.read(lambda totals: setattr(baseline, "stop", totals))

    # News

    def on_ready(self, server: ServerId, address: str) -> None:
        baseline = self._baselines.get(server)
        if baseline is not None:
            self._reader.read(lambda totals: setattr(baseline, "ready", totals))
        self._listener.on_ready(server, address)

    def on_exited(self, server: ServerId, ending: Exit) -> None:
        baseline = self._baselines.pop(server, None)
        took_much = baseline is not None and max(baseline.took(), default=0) > SLACK
        if baseline is None or not (took_much and baseline.is_stopping) or self._is_ending():
            self._listener.on_exited(server, ending)
        else:
            self._wait(baseline, partial(self._listener.on_exited, server, ending))

    def _wait(self, baseline: MemoryBaseline, report: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        is_reported = False

        def finish() -> None:
            nonlocal is_reported
            is_reported = True
            deadline.cancel()
            if not self._is_closed:
                report()

        def check(totals: Totals) -> None:
            if is_reported or self._is_closed:
                return
            if baseline.is_settled(totals) or self._is_ending():
                finish()
            else:
                loop.call_later(READ_PAUSE, self._reader.read, check)

        deadline = loop.call_later(self._timeout, finish)  # also when no reading comes back
        self._reader.read(check)
