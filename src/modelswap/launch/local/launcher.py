"""The launcher of this machine: a client of the keeper.

One root task runs from `open` to `close`: it owns the probes, and connects to a new keeper when one is
needed. When the keeper exits, so do its servers; each is reported.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from modelswap.keeper import protocol
from modelswap.launch import probe
from modelswap.launch.protocol import NO_CAPABILITIES, Exit, LaunchError, RunningServer
from modelswap.net.address import Address
from modelswap.units import Seconds

from . import exits
from .keeper_client.session import ORDER_TIMEOUT, KeeperSession
from .ports import NoFreePortError, PortAssignment
from .readiness import is_served, wait_until_ready
from .server import FoundServer, LocalServer, is_alive, remove_dead_socket, spawn_order, stop_order
from .state import lock_front

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping
    from pathlib import Path

    from modelswap.core.failure import Failure, ProbeObservation
    from modelswap.core.spec import ServerId
    from modelswap.launch.protocol import Capability, LaunchSpec, Listener

    from .keeper_client.starting import StartingKeeper

    Watch = Callable[[LocalServer, str], Coroutine[None, None, None]]

DISCARD_GRACE: Final = Seconds(3.0)
"""From SIGTERM to SIGKILL, and again to giving up; the front does not serve before they are gone."""

DEFAULT_GRACE: Final = Seconds(10.0)
"""How long servers outlive a front, as `keeper.grace` says by default."""


class LocalLauncher:
    capabilities: frozenset[Capability] = NO_CAPABILITIES

    def __init__(
        self,
        directory: Path,
        listener: Listener,
        *,
        grace: Seconds = DEFAULT_GRACE,
        order_timeout: Seconds = ORDER_TIMEOUT,
        starting: StartingKeeper | None = None,
    ) -> None:
        """*starting* is a keeper that was started ahead, for this directory."""
        self._directory = directory
        self._listener = listener
        self._keeper = KeeperSession(
            directory,
            grace=grace,
            order_timeout=order_timeout,
            on_frame=self._on_frame,
            on_lost=self._on_lost,
            starting=starting,
        )
        self._ports = PortAssignment()
        self._lock: int | None = None
        self._next_run = 1
        self._by_run: dict[int, LocalServer] = {}
        self._servers: dict[ServerId, LocalServer] = {}
        self._found: dict[int, FoundServer] = {}
        self._unsent: list[LocalServer] = []
        """Starts that wait for a keeper."""
        self._changed = asyncio.Event()
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
        run = self._run(started)
        self._root = asyncio.get_running_loop().create_task(run, name="local launcher")
        await started.wait()

    async def close(self, *, stop_servers: bool) -> None:
        self._is_closing = True
        if stop_servers:
            await self._keeper.stop_all()
        else:
            await self._keeper.disconnect()
        self._changed.set()
        if self._root is not None:
            await self._root
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def _connect(self) -> None:
        next_run, servers = await self._keeper.connect()
        self._is_lost = False
        self._next_run = max(self._next_run, next_run)
        self._found = {reported.run: FoundServer(reported) for reported in servers}
        self._keeper.begin()

    async def _run(self, started: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            started.set()
            while not self._is_closing:
                await self._changed.wait()
                self._changed.clear()
                if self._is_lost and not self._is_closing:
                    await self._report_lost()
                if self._unsent and not self._is_closing:
                    await self._reconnect()
            for server in self._by_run.values():
                server.cancel_probe()

    async def _report_lost(self) -> None:
        """Report all servers of a lost keeper, once they have exited too."""
        self._is_lost = False
        lost = [server for server in self._by_run.values() if server not in self._unsent]
        await self._keeper.clean_up()
        for server in lost:
            self._report(server, exits.KEEPER_DIED)
        for found in self._found.values():
            found.gone.set()
        self._found.clear()

    async def _reconnect(self) -> None:
        try:
            if not self._keeper.is_connected:
                await self._connect()
        except (LaunchError, OSError, RuntimeError, protocol.ProtocolError) as error:
            failed, self._unsent = self._unsent, []
            for server in failed:
                self._write_line(server, str(error) or "the keeper does not answer")
                self._report(server, exits.NO_KEEPER)
            return
        for server in self._unsent:
            self._order_spawn(server)
        self._unsent.clear()

    def _on_lost(self) -> None:
        self._is_lost = True
        self._changed.set()

    # Servers found at the start

    def found_servers(self) -> list[RunningServer]:
        reported = (found.reported for found in self._found.values())
        return [RunningServer(server=one.server, handle=one.handle) for one in reported]

    def adopt(self, spec: LaunchSpec, *, as_it_is: bool = False) -> str | None:
        for run, found in self._found.items():
            reported = found.reported
            if reported.server != spec.server or reported.stopping or not is_alive(reported):
                continue
            running = spec.at_port(reported.port)
            if as_it_is:
                running = replace(running, check=None)  # its probe may be another one
            elif running.fingerprint != reported.fingerprint:
                continue
            del self._found[run]
            if running.port is not None and not as_it_is:
                self._ports.keep(spec, running.port)
            server = self._enter(LocalServer(run, running, spec.port))
            loop = asyncio.get_running_loop()
            loop.call_soon(self._on_started, server, reported.pid)
            for data in found.output:
                loop.call_soon(self._listener.on_output, spec.server, data)
            return running.url
        return None

    async def discard(self, *servers: ServerId) -> None:
        chosen = [f for f in self._found.values() if not servers or f.reported.server in servers]
        for how in (protocol.TERMINATE, protocol.KILL):
            for found in chosen:
                self._keeper.send("signal", run=found.reported.run, how=how)
            with suppress(TimeoutError):
                async with asyncio.timeout(DISCARD_GRACE):
                    for found in chosen:
                        await found.gone.wait()
                return

    # Orders

    def start(self, spec: LaunchSpec) -> None:
        try:
            assigned = self._ports.assign(spec, self._used_ports())
            Address.parse(assigned.url)
        except (ValueError, NoFreePortError) as error:
            ending = exits.not_startable(str(error), is_lasting=isinstance(error, ValueError))
            asyncio.get_running_loop().call_soon(self._listener.on_exited, spec.server, ending)
            return
        server = self._enter(LocalServer(self._next_run, assigned, spec.port))
        self._next_run += 1
        if self._keeper.is_connected:
            self._order_spawn(server)
        else:
            self._unsent.append(server)
            self._changed.set()

    def terminate(self, server: ServerId) -> None:
        local = self._stopping(server)
        if local is None:
            return
        if not local.spec.stop_command or local.pid == 0:
            self._keeper.send("signal", run=local.run, how=protocol.TERMINATE)
        else:
            self._keeper.send("stop_command", **stop_order(local))

    def kill(self, server: ServerId) -> None:
        local = self._stopping(server)
        if local is not None:
            self._keeper.send("signal", run=local.run, how=protocol.KILL)

    def last_observation(self, server: ServerId) -> ProbeObservation | None:
        local = self._servers.get(server)
        return None if local is None else exits.last_observation(local)

    def _stopping(self, name: ServerId) -> LocalServer | None:
        """Note that the server is to exit; return it if the keeper has it."""
        server = self._servers.get(name)
        if server is None:
            return None
        server.is_stopping = True
        server.cancel_probe()
        if server not in self._unsent:
            return server
        self._unsent.remove(server)
        ending = Exit(reason="stopped before it was started")
        asyncio.get_running_loop().call_soon(self._report, server, ending)
        return None

    def _enter(self, server: LocalServer) -> LocalServer:
        assert server.id not in self._servers, "a server runs once"
        self._by_run[server.run] = server
        self._servers[server.id] = server
        return server

    def _used_ports(self) -> Iterator[int]:
        known = (server.port for server in self._servers.values())
        found = (found.reported.port for found in self._found.values())
        return (port for port in (*known, *found) if port is not None)

    def _order_spawn(self, server: LocalServer) -> None:
        remove_dead_socket(server.spec)
        self._keeper.send("spawn", **spawn_order(server))

    # News

    def _on_frame(self, frame: protocol.Frame) -> None:
        if frame.message is not None:
            self._on_message(frame.message)
            return
        server = self._by_run.get(frame.run)
        if server is not None:
            server.tail.add(frame.output)
            if server.pace is not None:
                server.pace.on_output()
            self._listener.on_output(server.id, frame.output)
        elif frame.run in self._found:
            self._found[frame.run].output.append(frame.output)

    def _on_message(self, message: Mapping[str, object]) -> None:
        kind = protocol.text(message, "kind")
        if kind == "welcome":
            self._keeper.on_answer()
            return
        run = protocol.whole(message, "run")
        server = self._by_run.get(run)
        if server is None:
            if kind == "exited" and run in self._found:
                self._found.pop(run).gone.set()
        elif kind == "spawned":
            self._on_started(server, protocol.whole(message, "pid"))
        elif kind == "spawn_failed":
            ending = exits.spawn_failed(server.spec, message)
            self._write_line(server, ending.reason)
            self._report(server, ending)
        elif kind == "main_gone":
            server.is_main_exited = True
            self._check_leftovers(server)
        elif kind == "stop_ended":
            self._on_stop_ended(server, message)
        elif kind == "exited":
            self._on_exited(server, protocol.whole(message, "code"))

    def _on_exited(self, server: LocalServer, code: int) -> None:
        server.cancel_probe()
        if exits.is_wanted(server):
            self._report(server, exits.exit_of(server, code))
        else:
            finding_out = self._report_failure(server, code)
            server.diagnosis = self._create_task(finding_out, f"exit of {server.id}")

    async def _report_failure(self, server: LocalServer, code: int) -> None:
        """Report an exit whose reason is found in a thread, since the output may be long."""
        try:
            ending = await asyncio.to_thread(exits.exit_of, server, code)
        except RuntimeError:  # no thread to be had
            ending = exits.exit_of(server, code)
        except Exception as bug:  # noqa: BLE001 - a border: the exit has to be reported
            self._write_line(server, f"internal error, please report: {bug!r}")
            ending = Exit(reason=exits.UNWATCHED.text, failure=exits.UNWATCHED)
        self._report(server, ending)

    def _on_started(self, server: LocalServer, pid: int) -> None:
        server.pid = pid
        self._listener.on_started(server.id, server.handle)
        if server.is_stopping:
            return
        if server.spec.check is None:
            self._on_ready(server)
        else:
            self._watch(server, self._probe, server.spec.check)

    def _on_ready(self, server: LocalServer) -> None:
        server.on_ready()
        self._listener.on_ready(server.id, server.spec.url)
        self._check_leftovers(server)

    def _on_stop_ended(self, server: LocalServer, message: Mapping[str, object]) -> None:
        what = exits.stop_command_trouble(server.spec, message)
        if what:
            self._write_line(server, what)
            self._listener.on_trouble(server.id, what)
            self._keeper.send("signal", run=server.run, how=protocol.TERMINATE)

    def _report(self, server: LocalServer, ending: Exit) -> None:
        server.cancel_probe()
        if self._by_run.pop(server.run, None) is None:
            return
        del self._servers[server.id]
        if ending.retryable and server.usual_port is not None and server.port is not None:
            self._ports.avoid(server.id, server.usual_port, server.port)
        self._listener.on_exited(server.id, ending)

    # Readiness

    async def _probe(self, server: LocalServer, check: str) -> None:
        marker = f"{protocol.MARKER}={self._keeper.id}.{server.run}"
        why = await wait_until_ready(server, check, marker, self._write_line)
        if why is None:
            self._on_ready(server)
        else:
            self._fail(server, why)

    def _check_leftovers(self, server: LocalServer) -> None:
        """When the main process has exited and nothing that it left serves, kill the rest."""
        check = server.spec.check
        is_running = server.is_ready and not server.is_stopping
        if is_running and server.is_main_exited and check is not None:
            self._watch(server, self._kill_unless_served, check)

    async def _kill_unless_served(self, server: LocalServer, check: str) -> None:
        if not await is_served(probe.target(server.spec.url, check)):
            self._fail(server, exits.MAIN_EXITED)

    def _fail(self, server: LocalServer, why: Failure) -> None:
        server.failure = why
        self._write_line(server, why.text)
        self._keeper.send("signal", run=server.run, how=protocol.KILL)

    def _write_line(self, server: LocalServer, text: str) -> None:
        self._listener.on_output(server.id, f"[modelswap: {text}]\n".encode())

    def _watch(self, server: LocalServer, watch: Watch, check: str) -> None:
        watching = self._watch_safely(watch, server, check)
        server.probe = self._create_task(watching, f"watch {server.id}")

    def _create_task(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        assert self._tasks is not None, "the launcher is open"
        return self._tasks.create_task(work, name=name)

    async def _watch_safely(self, watch: Watch, server: LocalServer, check: str) -> None:
        """Let a bug around one server end that server, not the root task."""
        try:
            await watch(server, check)
        except Exception as bug:  # noqa: BLE001 - a border: the others must go on
            self._write_line(server, f"internal error, please report: {bug!r}")
            self._fail(server, exits.UNWATCHED)
