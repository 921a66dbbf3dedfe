"""Ends the program in order when a signal asks for it.

SIGTERM asks for the end, and a second one cuts it short. With `keeper.onRestart: keep` it leaves the
models running with the keeper, for the next start. SIGINT (Ctrl-C) always stops them.

Guarantees: running requests have `shutdownTimeout`; everything after that is bounded.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from modelswap.api.services import Services
    from modelswap.http import Server
    from modelswap.units import Seconds

KILLED: Final = 3  # exit code when something had to be killed

T = TypeVar("T")


class Shutdown:
    """Whether a signal asked for the end, and which."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self._hurry = asyncio.Event()
        self._is_interrupted = False

    def handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(NotImplementedError):
                loop.add_signal_handler(number, self._on_signal, number)

    @property
    def signal(self) -> signal.Signals:
        """The signal that makes another process end in the same way."""
        return signal.SIGINT if self._is_interrupted else signal.SIGTERM

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGINT:
            self._is_interrupted = True
        if self.asked.is_set():
            self._hurry.set()
        self.asked.set()

    async def run(
        self, services: Services, server: Server, others: Callable[[], Awaitable[None]]
    ) -> int:
        """Let requests finish, stop the models or leave them to the keeper; return the exit code.

        *others* returns when no other process uses the models any more.
        """
        services.draining = True
        log, fleet = services.log, services.fleet
        log.info("stopping: finishing running requests")
        killed_before = fleet.killed
        fleet.drain()
        services.close_events()
        services.logs.end_tails()
        timeout = services.config.plan.settings.shutdown_timeout
        if not await self.unless_hurried(_finished(server, others, timeout)):
            log.warning("requests were still running and are cut")
        keeps = services.config.plan.settings.keeper_keeps and not self._is_interrupted
        if keeps and fleet.running():
            grace = services.config.plan.settings.keeper_grace
            log.info(f"models stay loaded; without a new start within {grace:g} s they are stopped")
        elif not await self.unless_hurried(_stopped(services)):
            fleet.kill_all()
        await server.close()
        await fleet.close(stop_servers=not keeps)
        return KILLED if fleet.killed > killed_before else 0

    async def finish(
        self, work: Coroutine[Any, Any, object], *, or_after: Seconds, when: asyncio.Event
    ) -> None:
        """Do *work*; cut it short *or_after* seconds after *when*, or a signal, asks for the end."""
        limits = (_wait_after(event, or_after) for event in (when, self.asked))
        await first_of(work, *limits, self._hurried())

    async def unless_hurried(self, work: Coroutine[Any, Any, bool]) -> bool:
        """Return the result of *work*; False when a second signal comes first."""
        return await first_of(work, self._hurried())

    async def _hurried(self) -> bool:
        await self._hurry.wait()
        return False


async def _finished(server: Server, others: Callable[[], Awaitable[None]], limit: Seconds) -> bool:
    """Say whether all running requests, here and in *others*, ended within the time."""
    ends = asyncio.get_running_loop().time() + limit
    if not await server.drain(limit):
        return False
    try:
        async with asyncio.timeout_at(ends):
            await others()
    except TimeoutError:
        return False
    return True


async def first_of(*works: Coroutine[Any, Any, T]) -> T:
    """Return the result of the work that ends first, and cancel the others."""
    async with asyncio.TaskGroup() as tasks:
        doing = [tasks.create_task(work) for work in works]
        done, _ = await asyncio.wait(doing, return_when=asyncio.FIRST_COMPLETED)
        for task in doing:
            task.cancel()
    return next(task for task in doing if task in done).result()


async def _wait_after(event: asyncio.Event, seconds: Seconds) -> None:
    await event.wait()
    await asyncio.sleep(seconds)


async def _stopped(services: Services) -> bool:
    await services.fleet.stop_all()
    return True
