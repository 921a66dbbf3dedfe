"""Runs a hand-over when it is wanted, and finishes this process's requests afterwards.

Guarantees: one attempt at a time; one that fails leaves this process serving, with a line that says
why.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from modelswap.fleet import Fleet
from modelswap.handover.outgoing import HandoverError, start
from modelswap.launch.local import pid1
from modelswap.launch.protocol import LaunchError
from modelswap.units import Seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelswap.api.services import Services
    from modelswap.fleet import RemoteFleet
    from modelswap.handover.incoming import OldFront
    from modelswap.handover.outgoing import NewFront
    from modelswap.http import Server

    from .shutdown import Shutdown
    from .systemd import ServiceManager

RESERVED: Final = 1000
"""Activity ids for the requests that this process still ends; gaps do no harm."""
TAKE_BACK_TRIES: Final = 20  # attempts to connect to the keeper again after a hand-over that failed
TAKE_BACK_PAUSE: Final = Seconds(0.25)
"""Between two attempts: together 5 s, less than the usual `keeper.grace`."""
LAST_REQUEST: Final = Seconds(2.0)
"""For kept-alive connections to send one more request before they are closed."""


class HandoverRunner:
    def __init__(
        self,
        *,
        services: Services,
        server: Server,
        manager: ServiceManager,
        shutdown: Shutdown,
        old_front: OldFront | None,
        new_fleet: Callable[[], Fleet],
    ) -> None:
        self._services = services
        self._server = server
        self._manager = manager
        self._shutdown = shutdown
        self._old_front = old_front
        """The process that handed over to this one; it may still have requests."""
        self._new_fleet = new_fleet
        self.settled = asyncio.Event()
        """No hand-over is under way that cannot be stopped any more."""
        self.settled.set()
        self.wanted = asyncio.Event()
        self.done = asyncio.Event()
        self.new_front: NewFront | None = None
        """The process that has taken over."""

    async def run(self, guard: asyncio.Lock, failed: Callable[[list[str]], None]) -> None:
        """Hand over whenever it is wanted, until it succeeds; *guard* keeps reloads out meanwhile."""
        while self.new_front is None:
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

    async def _try(self) -> None:
        self._refuse_at_the_end()
        self._services.log.info("handing over: starting the new front")
        new_front = await start(
            self._server.listening(),
            variables={**self._manager.variables, **pid1.variables()},
            keep=pid1.descriptors(),
        )
        is_given = False
        try:
            await new_front.wait_ready()
            self._refuse_at_the_end()
            await self._give(new_front)
            is_given = True
        finally:
            if not is_given:
                await asyncio.shield(new_front.stop())
        self.new_front = new_front
        self._manager.handed_over(new_front.pid)
        pid1.announce(new_front.pid)
        self.done.set()

    def _refuse_at_the_end(self) -> None:
        if self._shutdown.asked.is_set():
            raise HandoverError("the program is stopping")

    async def _give(self, new_front: NewFront) -> None:
        services, fleet = self._services, self._services.fleet
        assert isinstance(fleet, Fleet), "there is one hand-over"
        self.settled.clear()
        try:
            services.fleet = remote = new_front.make_remote_fleet(fleet, services.config.plan)
            if self._old_front is not None:
                self._old_front.use_fleet(remote)
            await fleet.close(stop_servers=False)
            services.completions.flush()
            reserved = RESERVED + 4 * self._server.connections
            is_first = self._old_front is None or self._old_front.is_gone
            try:
                await new_front.go(
                    next_id=services.store.next_after(reserved),
                    unsettled=() if is_first else services.store.unsettled,
                    profile=services.profile,
                )
            except HandoverError:
                await self._take_back(remote)
                raise
        finally:
            self.settled.set()

    async def _take_back(self, remote: RemoteFleet) -> None:
        """Go on with a fleet of this process; the models are still with the keeper."""
        for _ in range(TAKE_BACK_TRIES):
            leases = dict(remote.leases)
            fleet = self._new_fleet()
            try:
                await fleet.open(replace(remote.inherited, leases=leases))
            except (OSError, LaunchError) as error:
                self._services.log.warning(f"the models cannot be taken back yet: {error}")
                await asyncio.sleep(TAKE_BACK_PAUSE)
                continue
            self._services.fleet = fleet
            if self._old_front is not None:
                self._old_front.use_fleet(fleet)
            remote.give_back(fleet, leases)
            return
        self._services.log.error("the models cannot be taken back; stopping")
        remote.refuse_all()
        self._shutdown.asked.set()

    async def finish_requests(self) -> None:
        """Finish this process's requests, without a limit until a signal asks for the end."""
        services, new_front = self._services, self.new_front
        assert new_front is not None
        if self._shutdown.asked.is_set():  # the signal came during the hand-over
            new_front.forward_signal(self._shutdown.signal)
        services.log.info(f"handed over to pid {new_front.pid}; finishing running requests")
        self._server.hand_over()
        services.close_events()
        services.logs.end_tails()
        await self._shutdown.finish(
            self._finished(),
            or_after=services.config.plan.settings.shutdown_timeout,
            when=new_front.asks_to_stop,
        )
        await self._server.close()

    async def _finished(self) -> None:
        await self._server.drain(None, LAST_REQUEST)
        if self._old_front is not None:
            await self._old_front.wait_until_gone()
