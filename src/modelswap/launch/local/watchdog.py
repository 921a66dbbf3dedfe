"""Watching what was started: is it our server that answers, and does the keeper still obey.

Nothing here gives orders: the launcher does, on what it learns from here.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from modelswap.core.failure import Cause, Failure, failure
from modelswap.launch import probe
from modelswap.net.unix_sockets import SocketState, state_of

from .ports import Holder, belongs_to, holds_port, is_listening, stranger_behind, stranger_on
from .server import clash_text, taken

if TYPE_CHECKING:
    from collections.abc import Callable

    from .server import LocalServer

CLASH_PATIENCE: Final = 2.0
"""A stranger that answers our probe this long keeps the port: the start has failed."""
_CLASH_PAUSE: Final = 0.1
_SILENT_PAUSE: Final = 3.0
_SILENT_LOOKS: Final = 2
_SECOND_LOOK: Final = 1.0


async def until_ours(
    run: LocalServer, check: str, mark: str, say: Callable[[LocalServer, str], None]
) -> Failure | None:
    """Return when the run's own server is ready, or why it never will be."""
    try:
        where = probe.target(run.job.url, check, run.job.key)
    except ValueError as error:
        return failure(Cause.CANNOT_START, f"cannot be probed: {error}")
    async with asyncio.TaskGroup() as tasks:
        answering = tasks.create_task(_until_answer(run, where, mark, say))
        silent = tasks.create_task(_until_clash(run, where, mark))
        done, _ = await asyncio.wait({answering, silent}, return_when=asyncio.FIRST_COMPLETED)
        answering.cancel()
        silent.cancel()
    if answering in done:
        return answering.result()
    say(run, clash_text(run))
    return taken(run)


async def _until_answer(
    run: LocalServer, where: probe.ProbeTarget, mark: str, say: Callable[[LocalServer, str], None]
) -> Failure | None:
    def note(glance: probe.Glance) -> None:
        run.glance = glance

    loop = asyncio.get_running_loop()
    refuse_after: float | None = None
    while True:
        await probe.until_ready(where, note)
        stranger = await _stranger(run, where, mark)
        if stranger is None:
            run.clash = None
            return None
        if run.clash is None:
            run.clash = stranger
            say(run, f"{clash_text(run)}; its answer does not count")
        refuse_after = refuse_after or loop.time() + CLASH_PATIENCE
        if loop.time() > refuse_after:
            return taken(run)
        await asyncio.sleep(_CLASH_PAUSE)


async def _until_clash(run: LocalServer, where: probe.ProbeTarget, mark: str) -> None:
    """Return when a stranger that never answers still holds the port at a second look."""
    looks = 0
    while looks < _SILENT_LOOKS:
        await asyncio.sleep(_SILENT_PAUSE)
        stranger = await _stranger(run, where, mark)
        looks = 0 if stranger is None else looks + 1
        if stranger is not None and looks == _SILENT_LOOKS:
            run.clash = stranger


async def _stranger(run: LocalServer, where: probe.ProbeTarget, mark: str) -> Holder | None:
    """Who answers in our server's place; `None` when it is ours or cannot be known."""
    if where.socket_path:
        if not _names(run, where.socket_path):
            return None
        return stranger_behind(where.socket_path, lambda pid: belongs_to(pid, run.pid, mark))
    if not where.is_loopback or not _names_port(run, where.port):
        return None
    with suppress(OSError, RuntimeError):  # no descriptor or thread left to look with
        if not holds_port(run.pid, where.port):
            return await asyncio.to_thread(
                stranger_on, where.port, run.pid, lambda pid: belongs_to(pid, run.pid, mark)
            )
    return None


def _names_port(run: LocalServer, port: int) -> bool:
    """Whether the command says that its server shall have the port.

    One that does not (`sleep infinity`, `systemctl start …`) stands for a server that somebody else
    runs: whoever answers at `proxy` is meant.
    """
    return run.job.port == port or _names(run, str(port))


def _names(run: LocalServer, address: str) -> bool:
    return any(address in text for text in (*run.job.argv, *run.job.env))


def is_served(where: probe.ProbeTarget) -> bool:
    """Whether somebody listens at an address of this machine; also True when that cannot be known."""
    if where.socket_path:
        with suppress(OSError):
            return state_of(where.socket_path) is SocketState.IN_USE
        return True
    return not where.is_loopback or is_listening(where.port)


class KeeperWatchdog:
    """Notices a keeper that takes orders and does nothing (stopped, or hung on a dead disk).

    Every order is followed by a question, if none is open; its answer proves that the order was
    taken. There is no timer while no order is open. Time in which we ourselves did not run does not
    count: the answer then lies ready to be read, so there is a second, shorter, wait.
    """

    def __init__(
        self, patience: float, ask: Callable[[], None], give_up: Callable[[], None]
    ) -> None:
        self._patience = patience
        self._ask = ask
        self._give_up = give_up
        self._timer: asyncio.TimerHandle | None = None

    def on_order(self) -> None:
        if self._timer is None:
            self._ask()
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._patience, self._look_again)

    def on_answer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_again(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_SECOND_LOOK, self._end)

    def _end(self) -> None:
        self._timer = None
        self._give_up()
