"""The launcher of this machine: a client of the keeper.

It keeps one record per live run and turns the keeper's news into the listener's. One root task lives
from `open` to `close`; it owns the probes and brings a keeper back when one is needed.
When the keeper dies, so do its servers; each is reported, and the next start brings a new keeper.
"""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from modelswap.keeper import protocol
from modelswap.launch import probe
from modelswap.launch.protocol import Exit, LaunchError, RunningServer

from . import server
from .link import Keeper, KeeperLink, sweep, wait_for_end
from .server import FoundServer, LocalServer, SpawnError, clear_the_way, ending_of, is_alive
from .state import lock_front
from .watchdog import KeeperWatchdog, is_served, until_ours

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from pathlib import Path

    from modelswap.core.failure import Failure, ProbeObservation
    from modelswap.launch.protocol import LaunchSpec, Listener

DISCARD_GRACE: Final = 3.0
"""For what nobody talks to any more; the front does not serve before it is gone."""
CLOSE_GRACE: Final = 5.0
_LEEWAY: Final = 2.0
KEEPER_PATIENCE: Final = 20.0
"""A keeper that has not taken an order after this long is hung, and killed."""


class LocalLauncher:
    """A `Launcher`; see there for the contract."""

    def __init__(
        self,
        directory: Path,
        listener: Listener,
        *,
        grace: float = 10.0,
        patience: float = KEEPER_PATIENCE,
    ) -> None:
        self._directory = directory
        self._listener = listener
        self._keeper = Keeper(directory, grace)
        self._keeper_id = ""
        self._keeper_pid = 0
        self._link: KeeperLink | None = None
        self._pulse = KeeperWatchdog(patience, self._ask_keeper, self._kill_keeper)
        self._lock: int | None = None
        self._next_run = 1
        self._runs: dict[int, LocalServer] = {}
        self._current: dict[str, LocalServer] = {}
        self._found: dict[int, FoundServer] = {}
        self._waiting: list[LocalServer] = []
        """Starts that wait for a keeper."""
        self._wake = asyncio.Event()
        self._is_closing = False
        self._is_lost = False
        self._tasks: asyncio.TaskGroup | None = None
        self._root: asyncio.Task[None] | None = None

    # Possession

    async def open(self) -> None:
        self._lock = lock_front(self._directory)
        try:
            await self._connect()
        except BaseException:
            self._unlock()
            raise
        started = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._root = loop.create_task(self._live(started), name="local launcher")
        await started.wait()

    async def close(self, *, stop_servers: bool) -> None:
        self._is_closing = True
        link = self._link
        if link is not None and stop_servers:
            link.send(protocol.encode("stop_all", grace=CLOSE_GRACE))
            try:
                async with asyncio.timeout(CLOSE_GRACE + _LEEWAY):
                    await asyncio.shield(link.ended)
                await asyncio.to_thread(wait_for_end, self._keeper_pid, CLOSE_GRACE)
            except TimeoutError:
                await self._end_keeper()
            self._keeper.end()
        elif stop_servers:
            await sweep(self._keeper_id)
        elif link is not None:
            link.close()
            await asyncio.shield(link.ended)
        self._wake.set()
        if self._root is not None:
            await self._root
        self._unlock()

    async def _end_keeper(self) -> None:
        self._kill_keeper()
        await sweep(self._keeper_id)

    def _kill_keeper(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self._keeper_pid, signal.SIGKILL)

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def _connect(self) -> None:
        link, welcome = await self._keeper.connect()
        self._link, self._is_lost = link, False
        self._keeper_id, self._keeper_pid = welcome.keeper, welcome.pid
        self._next_run = max(self._next_run, welcome.next_run)
        self._found = {server.run: FoundServer(server) for server in welcome.servers}
        link.begin(self._on_frame, self._on_lost)

    async def _live(self, started: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            started.set()
            while not self._is_closing:
                await self._wake.wait()
                self._wake.clear()
                if self._is_lost and not self._is_closing:
                    await self._mourn()
                if self._waiting and not self._is_closing:
                    await self._revive()
            for run in self._runs.values():
                self._cancel_probe(run)

    async def _mourn(self) -> None:
        """Report all servers of a dead keeper, once they are dead too."""
        self._is_lost = False
        lost = [run for run in self._runs.values() if run not in self._waiting]
        with suppress(RuntimeError):  # no thread to be had: it is waited for at the next start
            await asyncio.to_thread(self._keeper.end)
        await sweep(self._keeper_id)
        for run in lost:
            self._report(run, server.KEEPER_DIED)
        for found in self._found.values():
            found.gone.set()
        self._found.clear()

    async def _revive(self) -> None:
        try:
            if self._link is None:
                await self._connect()
        except (LaunchError, OSError, RuntimeError, protocol.ProtocolError) as error:
            failed, self._waiting = self._waiting, []
            for run in failed:
                self._say(run, str(error) or "the keeper does not answer")
                self._report(run, server.NO_KEEPER)
            return
        for run in self._waiting:
            self._order_spawn(run)
        self._waiting.clear()

    def _on_lost(self) -> None:
        self._link = None
        self._pulse.on_answer()
        self._is_lost = True
        self._wake.set()

    # What was there before us

    def adopted(self) -> list[RunningServer]:
        servers = [found.server for found in self._found.values()]
        return [
            RunningServer(model=s.model, pid=s.pid, fingerprint=s.fingerprint, port=s.port)
            for s in servers
        ]

    def adopt(self, job: LaunchSpec, *, as_it_is: bool = False) -> bool:
        for number, found in self._found.items():
            server = found.server
            is_meant = server.model == job.model and not server.stopping and is_alive(server)
            if is_meant and (as_it_is or server.fingerprint == job.fingerprint):
                del self._found[number]
                run = self._enter(LocalServer(number, job))
                loop = asyncio.get_running_loop()
                loop.call_soon(self._on_spawned, run, server.pid)
                for data in found.output:
                    loop.call_soon(self._listener.on_output, job.model, data)
                return True
        return False

    async def discard(self, *models: str) -> None:
        chosen = [f for f in self._found.values() if not models or f.server.model in models]
        for how in (protocol.TERMINATE, protocol.KILL):
            for found in chosen:
                self._send("signal", run=found.server.run, how=how)
            with suppress(TimeoutError):
                async with asyncio.timeout(DISCARD_GRACE):
                    for found in chosen:
                        await found.gone.wait()
                return

    # Orders

    def start(self, job: LaunchSpec) -> None:
        run = self._enter(LocalServer(self._next_run, job))
        self._next_run += 1
        if self._link is not None:
            self._order_spawn(run)
        else:
            self._waiting.append(run)
            self._wake.set()

    def terminate(self, model: str) -> None:
        run = self._stopping(model)
        if run is None:
            return
        if not run.job.stop_command or run.pid == 0:
            self._send("signal", run=run.number, how=protocol.TERMINATE)
        else:
            self._send("stop_command", **server.stop_order(run))

    def kill(self, model: str) -> None:
        run = self._stopping(model)
        if run is not None:
            self._send("signal", run=run.number, how=protocol.KILL)

    def last_look(self, model: str) -> ProbeObservation | None:
        run = self._current.get(model)
        return None if run is None else server.last_look(run)

    def _stopping(self, model: str) -> LocalServer | None:
        """Note that the model is to leave; return its run if the keeper has it."""
        run = self._current.get(model)
        if run is None:
            return None
        run.is_stopping = True
        self._cancel_probe(run)
        if run not in self._waiting:
            return run
        self._waiting.remove(run)
        ending = Exit(reason="stopped before it was started")
        asyncio.get_running_loop().call_soon(self._report, run, ending)
        return None

    def _enter(self, run: LocalServer) -> LocalServer:
        assert run.job.model not in self._current, "a model runs once"
        self._runs[run.number] = run
        self._current[run.job.model] = run
        return run

    def _order_spawn(self, run: LocalServer) -> None:
        clear_the_way(run.job)
        self._send("spawn", **server.spawn_order(run))

    def _send(self, kind: str, **fields: object) -> None:
        if self._link is not None:
            self._link.send(protocol.encode(kind, **fields))
            self._pulse.on_order()

    def _ask_keeper(self) -> None:
        if self._link is not None:
            self._link.send(self._keeper.greeting())

    # News

    def _on_frame(self, frame: protocol.Frame) -> None:
        if frame.message is not None:
            self._on_news(frame.message)
            return
        run = self._runs.get(frame.run)
        if run is not None:
            run.hear(frame.output)
            self._listener.on_output(run.job.model, frame.output)
        elif frame.run in self._found:
            self._found[frame.run].output.append(frame.output)

    def _on_news(self, message: Mapping[str, object]) -> None:
        kind = protocol.text(message, "kind")
        if kind == "welcome":
            self._pulse.on_answer()
            return
        number = protocol.whole(message, "run")
        run = self._runs.get(number)
        if run is None:
            if kind == "exited" and number in self._found:
                self._found.pop(number).gone.set()
        elif kind == "spawned":
            self._on_spawned(run, protocol.whole(message, "pid"))
        elif kind == "spawn_failed":
            ending = server.not_started(run.job, _error_in(message))
            self._say(run, ending.reason)
            self._report(run, ending)
        elif kind == "main_gone":
            run.is_bereft = True
            self._look_after(run)
        elif kind == "stop_ended":
            self._on_stop_ended(run, message)
        elif kind == "exited":
            self._report(run, ending_of(run, protocol.whole(message, "code")))

    def _on_spawned(self, run: LocalServer, pid: int) -> None:
        run.pid = pid
        self._listener.on_spawned(run.job.model, pid)
        if run.is_stopping:
            return
        if run.job.check is None:
            self._on_ready(run)
        else:
            run.probe = self._spawn_task(run, self._probe, run.job.check)

    def _on_ready(self, run: LocalServer) -> None:
        run.note_ready()
        self._listener.on_ready(run.job.model)
        self._look_after(run)

    def _on_stop_ended(self, run: LocalServer, message: Mapping[str, object]) -> None:
        code = protocol.whole_or_none(message, "code")
        what = server.stop_trouble(run.job, code, _error_in(message))
        if what:
            self._say(run, what)
            self._listener.on_trouble(run.job.model, what)
            self._send("signal", run=run.number, how=protocol.TERMINATE)

    def _report(self, run: LocalServer, ending: Exit) -> None:
        self._cancel_probe(run)
        if self._runs.pop(run.number, None) is None:
            return
        del self._current[run.job.model]
        self._listener.on_exited(run.job.model, ending)

    # Readiness

    async def _probe(self, run: LocalServer, check: str) -> None:
        mark = f"{protocol.MARKER}={self._keeper_id}.{run.number}"
        why = await until_ours(run, check, mark, self._say)
        if why is None:
            self._on_ready(run)
        else:
            self._fail(run, why)

    def _look_after(self, run: LocalServer) -> None:
        """When a wrapper has gone and nothing of what it left serves, end the rest."""
        if run.is_bereft and run.is_ready and run.job.check is not None and not run.is_stopping:
            run.probe = self._spawn_task(run, self._end_unless_serving, run.job.check)

    async def _end_unless_serving(self, run: LocalServer, check: str) -> None:
        if not is_served(probe.target(run.job.url, check)):
            self._fail(run, server.GONE)

    def _fail(self, run: LocalServer, why: Failure) -> None:
        run.failure = why
        self._say(run, why.text)
        self._send("signal", run=run.number, how=protocol.KILL)

    def _say(self, run: LocalServer, what: str) -> None:
        self._listener.on_output(run.job.model, f"[modelswap: {what}]\n".encode())

    def _spawn_task(
        self,
        run: LocalServer,
        watch: Callable[[LocalServer, str], Coroutine[None, None, None]],
        check: str,
    ) -> asyncio.Task[None]:
        if self._tasks is None:
            raise LaunchError("the launcher is not open")
        return self._tasks.create_task(
            self._guarded(watch, run, check), name=f"watch {run.job.model}"
        )

    async def _guarded(
        self,
        watch: Callable[[LocalServer, str], Coroutine[None, None, None]],
        run: LocalServer,
        check: str,
    ) -> None:
        """Let what goes wrong around one server end that server, not the watch over all."""
        try:
            await watch(run, check)
        except Exception as bug:  # noqa: BLE001 - a border: the others must go on
            self._say(run, f"internal error, please report: {bug!r}")
            self._fail(run, server.UNWATCHED)

    @staticmethod
    def _cancel_probe(run: LocalServer) -> None:
        if run.probe is not None:
            run.probe.cancel()
            run.probe = None


def _error_in(message: Mapping[str, object]) -> SpawnError:
    number = protocol.whole_or_none(message, "errno")
    return SpawnError(protocol.text(message, "reason"), number)
