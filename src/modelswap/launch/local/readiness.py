"""Waits until a server is ready, and makes sure that it is this server that answers."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Final

from modelswap.core.failure import Cause, Failure, failure
from modelswap.launch import probe
from modelswap.launch.fine_timer import open_timer
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
_REST: Final = 3
"""So many times as long as a check took none is begun ahead of an answer: they use a quarter of one
processor at most, also where each has to look at all processes."""
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
    loop = asyncio.get_running_loop()
    with open_timer(loop) as timer:
        server.pace = ProbePace(time.monotonic, timer)
        try:
            return await _wait_for_either(server, target, server.pace, marker, write_line)
        finally:
            server.pace = None


async def _wait_for_either(
    server: LocalServer,
    target: probe.ProbeTarget,
    pace: ProbePace,
    marker: str,
    write_line: WriteLine,
) -> Failure | None:
    """Return at the server's own answer, or when a foreign process is known to hold its address."""
    async with asyncio.TaskGroup() as tasks:
        check = HolderCheck(tasks, partial(_foreign_holder, server, target, marker))
        answer = _wait_for_answer(server, target, check, pace, write_line)
        answering = tasks.create_task(answer)
        silent = tasks.create_task(_wait_for_clash(server, target, marker))
        done, _ = await asyncio.wait({answering, silent}, return_when=asyncio.FIRST_COMPLETED)
        answering.cancel()
        silent.cancel()
    if answering in done:
        return answering.result()
    write_line(server, clash_text(server))
    return address_taken(server)


class HolderCheck:
    """Asks who listens at the server's address, while the answer of a probe is on its way.

    Guarantees: what it says of an answer was asked after that probe was sent. So the port cannot have
    changed hands between the two without being noticed.
    """

    def __init__(
        self,
        tasks: asyncio.TaskGroup,
        find: Callable[[], Coroutine[None, None, Holder | None]],
    ) -> None:
        self._tasks = tasks
        self._find = find
        self._asking: asyncio.Task[Holder | None] | None = None
        self._is_current = False
        """Whether that was begun since the last probe was sent."""
        self._rests_until = -inf

    def on_sent(self) -> None:
        """Ask ahead of the answer, unless it is still asked or took long a moment ago."""
        is_asking = self._asking is not None and not self._asking.done()
        self._is_current = not is_asking and time.monotonic() >= self._rests_until
        if self._is_current:
            self._asking = self._ask()

    async def result(self) -> Holder | None:
        """Return the foreign process that listens, if one is known to."""
        if self._asking is not None and not self._is_current:
            await self._asking
        if self._asking is None or not self._is_current:
            self._asking, self._is_current = self._ask(), True
        return await self._asking

    def _ask(self) -> asyncio.Task[Holder | None]:
        return self._tasks.create_task(self._timed())

    async def _timed(self) -> Holder | None:
        began = time.monotonic()
        try:
            return await self._find()
        finally:
            ended = time.monotonic()
            self._rests_until = ended + _REST * (ended - began)


async def _wait_for_answer(
    server: LocalServer,
    target: probe.ProbeTarget,
    check: HolderCheck,
    pace: ProbePace,
    write_line: WriteLine,
) -> Failure | None:
    def on_result(result: probe.ProbeResult) -> None:
        server.probe_result = result

    refuse_after: float | None = None
    while True:
        await probe.wait_until_ready(target, check.on_sent, on_result, pace)
        holder = await check.result()
        if holder is None:
            server.clash = None
            return None
        if server.clash is None:
            server.clash = holder
            write_line(server, f"{clash_text(server)}; its answer does not count")
        refuse_after = refuse_after or time.monotonic() + CLASH_TIMEOUT
        if time.monotonic() > refuse_after:
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
