"""The session with the keeper: connected, watched, and ended.

Guarantees: a keeper that stops executing orders is killed, and its servers with it.
Does not: bring a new keeper by itself; the launcher does when a server is to be started.
"""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from modelswap.keeper import protocol
from modelswap.suspension import SUSPENDED_AFTER
from modelswap.units import Seconds

from .link import Keeper, sweep, wait_for_end

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .link import KeeperLink, ReportedServer
    from .starting import StartingKeeper

ORDER_TIMEOUT: Final = Seconds(20.0)
"""A keeper takes an order within milliseconds; one on a slow disk may need seconds."""
CLOSE_GRACE: Final = Seconds(5.0)
"""From SIGTERM to SIGKILL at the end of the program, which a service manager bounds as well."""
_LEEWAY: Final = Seconds(2.0)
"""For the keeper to see that killed servers have exited."""


class KeeperSession:
    def __init__(
        self,
        directory: Path,
        *,
        grace: Seconds,
        order_timeout: Seconds,
        on_frame: Callable[[protocol.Frame], None],
        on_lost: Callable[[], None],
        starting: StartingKeeper | None = None,
    ) -> None:
        self.id = ""
        self._pid = 0
        self._keeper = Keeper(directory, grace, starting=starting)
        self._link: KeeperLink | None = None
        self._watchdog = KeeperWatchdog(order_timeout, self._ask, self._kill)
        self._on_frame = on_frame
        self._on_lost = on_lost

    @property
    def is_connected(self) -> bool:
        return self._link is not None

    async def connect(self) -> tuple[int, tuple[ReportedServer, ...]]:
        """Connect; return the first unused run number, and the servers that the keeper has."""
        link, state = await self._keeper.connect()
        self._link, self.id, self._pid = link, state.keeper, state.pid
        return state.next_run, state.servers

    def begin(self) -> None:
        """Pass on frames, those since `connect` first, and the loss of the keeper."""
        if self._link is not None:
            self._link.begin(self._on_frame, self._lost)

    def send(self, kind: str, **fields: object) -> None:
        if self._link is not None:
            self._link.send(protocol.encode(kind, **fields))
            self._watchdog.on_order()

    def on_answer(self) -> None:
        self._watchdog.on_answer()

    async def clean_up(self) -> None:
        """See that a lost keeper has ended, and everything that its servers left behind."""
        with suppress(RuntimeError):  # no thread to be had: it is waited for at the next start
            await asyncio.to_thread(self._keeper.end)
        await sweep(self.id)

    async def disconnect(self) -> None:
        """Disconnect; the servers run on for the keeper's grace."""
        if self._link is not None:
            link = self._link
            link.close()
            await asyncio.shield(link.ended)

    async def stop_all(self) -> None:
        """Have the keeper stop its servers and end; return when that has happened."""
        link = self._link
        if link is None:
            await sweep(self.id)
            return
        link.send(protocol.encode("stop_all", grace=CLOSE_GRACE))
        try:
            async with asyncio.timeout(CLOSE_GRACE + _LEEWAY):
                await asyncio.shield(link.ended)
            await asyncio.to_thread(wait_for_end, self._pid, CLOSE_GRACE)
        except TimeoutError:
            self._kill()
            await sweep(self.id)
        self._keeper.end()

    def _ask(self) -> None:
        if self._link is not None:
            self._link.send(self._keeper.greeting())

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)

    def _lost(self) -> None:
        self._link = None
        self._watchdog.on_answer()
        self._on_lost()


class KeeperWatchdog:
    """Notices a keeper that takes orders and executes none (stopped, or hung on a dead disk).

    Each order is followed by a question, if none is open; its answer proves that the order was taken.
    Time in which this process itself did not run does not count: the answer may then lie ready to be
    read, so there is a second, shorter, wait.
    """

    def __init__(
        self, timeout: Seconds, ask: Callable[[], None], on_timeout: Callable[[], None]
    ) -> None:
        self._timeout = timeout
        self._ask = ask
        self._on_timeout = on_timeout
        self._timer: asyncio.TimerHandle | None = None

    def on_order(self) -> None:
        if self._timer is None:
            self._ask()
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._timeout, self._wait_again)

    def on_answer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait_again(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(SUSPENDED_AFTER, self._end)

    def _end(self) -> None:
        self._timer = None
        self._on_timeout()
