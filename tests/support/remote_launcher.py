"""A launcher of another machine, as far as the fleet can tell: 127.0.0.2, no pid, ports of its own.

It starts plain subprocesses and probes them with blocking requests on a thread. Its first port choice can
be made to fail, which it reports as an exit that may be retried.
"""

from __future__ import annotations

import asyncio
import http.client
import socket
import subprocess
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from modelswap.core.failure import Cause, failure
from modelswap.launch.protocol import NO_CAPABILITIES, Exit, Handle

if TYPE_CHECKING:
    from modelswap.core.spec import ServerId
    from modelswap.launch.protocol import Capability, LaunchSpec, Listener, RunningServer

HOST = "127.0.0.2"
_PROBE_PAUSE = 0.02
"""Seconds between two probes."""


def port_of_host() -> int:
    """Return a port that was free on the remote host a moment ago."""
    with socket.socket() as one:
        one.bind((HOST, 0))
        number: int = one.getsockname()[1]
        return number


class RemoteLauncher:
    """Starts each server on a port that nobody told it."""

    capabilities: frozenset[Capability] = NO_CAPABILITIES

    def __init__(self, listener: Listener, *, failing_starts: int = 0) -> None:
        self.listener = listener
        self.specs: list[LaunchSpec] = []
        """Of every start, as the fleet gave them."""
        self.processes: dict[ServerId, subprocess.Popen[bytes]] = {}
        self._failing_starts = failing_starts
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None: ...

    def found_servers(self) -> list[RunningServer]:
        return []

    def adopt(self, spec: LaunchSpec, *, as_it_is: bool = False) -> str | None:
        del spec, as_it_is
        return None

    async def discard(self, *servers: ServerId) -> None: ...

    def start(self, spec: LaunchSpec) -> None:
        self.specs.append(spec)
        if self._failing_starts:
            self._failing_starts -= 1
            said = "no slot on the node"
            ending = Exit(
                reason=said,
                failure=failure(Cause.CANNOT_START, said, brief=said),
                retryable=True,
            )
            asyncio.get_running_loop().call_soon(self.listener.on_exited, spec.server, ending)
            return
        spec = spec.at_port(port_of_host())
        task = asyncio.get_running_loop().create_task(self._run(spec))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, spec: LaunchSpec) -> None:
        argv = [word.replace("127.0.0.1", HOST) for word in spec.argv]
        process = subprocess.Popen(argv, stdout=subprocess.DEVNULL)  # noqa: ASYNC220 - a fork, no wait
        self.processes[spec.server] = process
        self.listener.on_started(spec.server, Handle(text="slot 1 of node-b"))
        parts = urlsplit(spec.url)
        address = f"http://{HOST}:{parts.port}{parts.path}"
        if await asyncio.to_thread(_is_ready, process, address, spec.check):
            self.listener.on_ready(spec.server, address)
        code = await asyncio.to_thread(process.wait)
        del self.processes[spec.server]
        said = f"exited with code {code}"
        self.listener.on_exited(spec.server, Exit(code=code, reason=said))

    def terminate(self, server: ServerId) -> None:
        if server in self.processes:
            self.processes[server].terminate()

    def kill(self, server: ServerId) -> None:
        if server in self.processes:
            self.processes[server].kill()

    def last_observation(self, server: ServerId) -> None:
        """It remembers none."""

    async def close(self, *, stop_servers: bool) -> None:
        del stop_servers  # no keeper: nothing would run on
        for process in self.processes.values():
            process.kill()
        while self._tasks:
            await asyncio.wait(self._tasks)


def _is_ready(process: subprocess.Popen[bytes], address: str, check: str | None) -> bool:
    while process.poll() is None:
        connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=30)
        try:
            connection.request("GET", check or "/")
            if connection.getresponse().status == http.HTTPStatus.OK:
                return True
        except OSError:
            time.sleep(_PROBE_PAUSE)
        finally:
            connection.close()
    return False
