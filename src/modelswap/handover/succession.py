"""When a hand-over is asked for: one attempt at a time, and what this front does afterwards.

Guarantees: an attempt that fails leaves this front serving, with a line that says why.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from modelswap.fleet import Fleet, Inherited
from modelswap.launch.local import pid1
from modelswap.launch.protocol import LaunchError

from .outgoing import HandoverError, start

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelswap.api.services import Services
    from modelswap.app.shutdown import Shutdown
    from modelswap.app.systemd import Service
    from modelswap.fleet import RemoteFleet
    from modelswap.http import Server

    from .incoming import Inheritance
    from .outgoing import Successor

RESERVED: Final = 1000
"""Activity ids for the requests that this front still ends; gaps do no harm."""
TAKE_BACK_TRIES: Final = 20
TAKE_BACK_PAUSE: Final = 0.25
"""Seconds between two tries: together well below the usual `keeper.grace`."""
QUIET: Final = 2.0
"""Seconds that kept-alive connections get for their last request, before they are closed."""


class Succession:
    def __init__(
        self,
        *,
        services: Services,
        server: Server,
        service: Service,
        shutdown: Shutdown,
        before: Inheritance | None,
        new_fleet: Callable[[], Fleet],
    ) -> None:
        self._services = services
        self._server = server
        self._service = service
        self._shutdown = shutdown
        self._before = before
        """The front that has handed over to this one, perhaps still at work."""
        self._new_fleet = new_fleet
        self._settled = asyncio.Event()
        self._settled.set()
        self.wanted = asyncio.Event()
        self.done = asyncio.Event()
        self.successor: Successor | None = None
        """The front that has taken over."""

    async def attend(self, guard: asyncio.Lock, failed: Callable[[list[str]], None]) -> None:
        """Hand over whenever it is wanted, until it succeeds; *guard* keeps reloads out meanwhile."""
        while self.successor is None:
            await self.wanted.wait()
            async with guard:
                try:
                    await self._try()
                except HandoverError as error:
                    log = self._services.log
                    for line in error.lines:
                        log.warning(f"hand-over: {line}")
                    log.warning("not handed over; this process goes on")
                    failed(list(error.lines))
            self.wanted.clear()

    async def settle(self) -> None:
        """Return when a hand-over that cannot be stopped any more is over."""
        await self._settled.wait()

    async def _try(self) -> None:
        self._services.log.info("handing over: starting the new front")
        successor = await start(
            self._server.listening(),
            variables={**self._service.variables, **pid1.variables()},
            keep=pid1.descriptors(),
        )
        is_given = False
        try:
            await successor.ready()
            if self._shutdown.asked.is_set():
                raise HandoverError("the program is stopping")
            await self._give(successor)
            is_given = True
        finally:
            if not is_given:
                await asyncio.shield(successor.end())
        self.successor = successor
        self._service.handed_over(successor.pid)
        pid1.tell(successor.pid)
        self.done.set()

    async def _give(self, successor: Successor) -> None:
        services, fleet = self._services, self._services.fleet
        assert isinstance(fleet, Fleet), "there is one hand-over"
        self._settled.clear()
        try:
            services.fleet = remote = successor.inherit(fleet, services.config.plan)
            if self._before is not None:
                self._before.follow(remote)
            await fleet.close(stop_servers=False)
            services.completions.flush()
            reserved = RESERVED + 4 * self._server.connections
            try:
                await successor.go(
                    next_id=services.store.next_after(reserved), profile=services.profile
                )
            except HandoverError:
                await self._take_back(remote)
                raise
        finally:
            self._settled.set()

    async def _take_back(self, remote: RemoteFleet) -> None:
        """Go on with a fleet of our own; the models are still with the keeper."""
        for _ in range(TAKE_BACK_TRIES):
            leases = dict(remote.leases)
            fleet = self._new_fleet()
            try:
                await fleet.open(Inherited(leases=leases, ready=remote.inherited.ready))
            except (OSError, LaunchError) as error:
                self._services.log.warning(f"the models cannot be taken back yet: {error}")
                await asyncio.sleep(TAKE_BACK_PAUSE)
                continue
            self._services.fleet = fleet
            if self._before is not None:
                self._before.follow(fleet)
            remote.give_back(fleet, leases)
            return
        self._services.log.error("the models cannot be taken back; stopping")
        remote.refuse_all()
        self._shutdown.asked.set()

    async def retire(self) -> None:
        """Finish what this front still has, without a limit until somebody asks for the end."""
        services, successor = self._services, self.successor
        assert successor is not None
        if self._shutdown.asked.is_set():  # it came while the hand-over went on
            successor.pass_on(self._shutdown.signal)
        services.log.info(f"handed over to pid {successor.pid}; finishing running requests")
        self._server.hand_over()
        services.bus.close()
        services.logs.end_tails()
        await self._shutdown.finish(
            self._finished(),
            or_after=services.config.plan.settings.shutdown_timeout,
            when=successor.asks_to_stop,
        )
        await self._server.close()

    async def _finished(self) -> bool:
        await self._server.drain(None, QUIET)
        if self._before is not None:
            await self._before.wait_until_gone()
        return True
