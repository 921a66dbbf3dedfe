"""Waits until a server is ready, and makes sure that it is this server that answers."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from modelswap.core.failure import Cause, Failure, failure
from modelswap.launch import probe
from modelswap.launch.probe_pace import ProbePace
from modelswap.net.unix_sockets import SocketState, state_of
from modelswap.units import Seconds

from .exits import address_taken, clash_text
from .ports import belongs_to, foreign_process_behind, foreign_process_on, is_listening

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from .ports import Holder
    from .server import LocalServer

    WriteLine = Callable[[LocalServer, str], None]

CLASH_TIMEOUT: Final = Seconds(2.0)
"""A foreign process that answers the probe this long keeps the port: the start has failed."""
_CLASH_PAUSE: Final = Seconds(0.1)
"""Between two checks of who answers; each reads much of `/proc`."""
_CHECK_LASTS: Final = Seconds(0.05)
"""So long who answers is not asked again; below `_CLASH_PAUSE`."""
_SILENT_PAUSE: Final = Seconds(3.0)
"""The same for a foreign process that does not answer, which is rare."""
_SILENT_CHECKS: Final = 2
"""The first may have met a process that was just exiting."""


async def wait_until_ready(
    server: LocalServer, check: str, marker: str, write_line: WriteLine
) -> Failure | None:
    """Return when the server is ready, or why it never will be; *marker* is in its environment."""
    try:
        target = probe.target(server.spec.url, check, server.spec.key)
    except ValueError as error:
        return failure(Cause.CANNOT_START, f"cannot be probed: {error}")
    async with asyncio.TaskGroup() as tasks:
        check_holder = HolderCheck(tasks, partial(_foreign_holder, server, target, marker))
        answering = tasks.create_task(_wait_for_answer(server, target, check_holder, write_line))
        silent = tasks.create_task(_wait_for_clash(server, target, marker))
        done, _ = await asyncio.wait({answering, silent}, return_when=asyncio.FIRST_COMPLETED)
        answering.cancel()
        silent.cancel()
    if answering in done:
        return answering.result()
    write_line(server, clash_text(server))
    return address_taken(server)


class HolderCheck:
    """Asks who listens at the server's address, while the answer of the probe is on its way."""

    def __init__(
        self,
        tasks: asyncio.TaskGroup,
        find: Callable[[], Coroutine[None, None, Holder | None]],
    ) -> None:
        self._tasks = tasks
        self._find = find
        self._clock = asyncio.get_running_loop().time
        self._began_at = 0.0
        self._task: asyncio.Task[Holder | None] | None = None

    def begin(self) -> asyncio.Task[Holder | None]:
        """Ask, unless that was done a moment ago; return the one who is asked."""
        task, now = self._task, self._clock()
        if task is None or (task.done() and now - self._began_at > _CHECK_LASTS):
            self._began_at = now
            task = self._task = self._tasks.create_task(self._find())
        return task


async def _wait_for_answer(
    server: LocalServer, target: probe.ProbeTarget, check: HolderCheck, write_line: WriteLine
) -> Failure | None:
    def on_result(result: probe.ProbeResult) -> None:
        server.probe_result = result

    loop = asyncio.get_running_loop()
    server.pace = pace = ProbePace(loop)
    refuse_after: float | None = None
    while True:
        await probe.wait_until_ready(target, check.begin, on_result, pace)
        holder = await check.begin()
        if holder is None:
            server.clash = None
            return None
        if server.clash is None:
            server.clash = holder
            write_line(server, f"{clash_text(server)}; its answer does not count")
        refuse_after = refuse_after or loop.time() + CLASH_TIMEOUT
        if loop.time() > refuse_after:
            return address_taken(server)
        await asyncio.sleep(_CLASH_PAUSE)


async def _wait_for_clash(server: LocalServer, target: probe.ProbeTarget, marker: str) -> None:
    """Return when a foreign process that never answers still holds the port at a second check."""
    checks = 0
    while checks < _SILENT_CHECKS:
        await asyncio.sleep(_SILENT_PAUSE)
        holder = await _foreign_holder(server, target, marker)
        checks = 0 if holder is None else checks + 1
        if holder is not None and checks == _SILENT_CHECKS:
            server.clash = holder


async def _foreign_holder(
    server: LocalServer, target: probe.ProbeTarget, marker: str
) -> Holder | None:
    """Return the process that answers in the server's place; `None`: none, or it cannot be known."""

    def is_own(pid: int) -> bool:
        return belongs_to(pid, server.pid, marker)

    if target.socket_path:
        is_named = _names(server, target.socket_path)
        return foreign_process_behind(target.socket_path, is_own) if is_named else None
    if not target.is_loopback or not _names_port(server, target.port):
        return None
    with suppress(OSError, RuntimeError):  # no descriptor or thread left to look with
        return await asyncio.to_thread(foreign_process_on, target.port, server.pid, is_own)
    return None


def _names_port(server: LocalServer, port: int) -> bool:
    """Whether the command names the port; else (`systemctl start …`) any process at `proxy` is meant."""
    return server.port == port or _names(server, str(port))


def _names(server: LocalServer, address: str) -> bool:
    return any(address in text for text in (*server.spec.argv, *server.spec.env))


async def is_served(target: probe.ProbeTarget) -> bool:
    """Whether a process listens at an address of this machine; also True when that is not known."""
    with suppress(OSError, RuntimeError):  # no descriptor or thread left to look with
        if target.socket_path:
            return state_of(target.socket_path) is SocketState.IN_USE
        if target.is_loopback:
            return await asyncio.to_thread(is_listening, target.port)
    return True
