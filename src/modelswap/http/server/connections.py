"""The open connections: how many there may be, in all and per address, and which idle one is closed for a new one.

At a limit the connection that has been idle longest is closed; only when none is idle is the new one
refused. An unbounded address (this machine, a trusted proxy) has no limit of its own.
Connections are searched only when a limit is reached: nothing here costs anything per request.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from modelswap.http.transport.swept_connections import SweptConnections
from modelswap.net.descriptors import connections_that_fit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from modelswap.http.limits import Limits

_MAX_LINGERING = 256
"""Refused connections that may wait for their client to read the refusal; more are cut at once."""
_MIN_LINGERING = 16
"""So many of them may wait also where the limit is low."""
_MAX_SEARCHES = 20
"""Searches of all connections per period of the sweeper (0.25 s): each costs about 0.5 ms for 4,096."""


class OpenConnection(Protocol):
    peer: str
    idle_number: int

    @property
    def is_busy(self) -> bool: ...
    @property
    def is_between_requests(self) -> bool: ...
    @property
    def is_idle(self) -> bool: ...
    def close_if_idle(self) -> bool: ...
    def kill(self) -> None: ...
    def wake(self) -> None: ...
    def sweep(self, now: float) -> None: ...


class Connections:
    def __init__(
        self, loop: asyncio.AbstractEventLoop, limits: Limits, is_unbounded: Callable[[str], bool]
    ) -> None:
        self._loop = loop
        self._limits = limits
        self._is_unbounded = is_unbounded
        self._descriptors_for = limits.connections
        """Connections for which there are file descriptors."""
        self._open: dict[OpenConnection, None] = {}
        self.swept: SweptConnections[OpenConnection] = SweptConnections()
        self._leaving: set[OpenConnection] = set()
        """Refused, or closed for a new one: open for a moment, and not counted."""
        self._per_address: dict[str, int] = {}
        self._found_idle: dict[str | None, list[tuple[int, OpenConnection]]] = {}
        """Of an address, or of all: what the last search found idle, the longest idle last. A connection
        that was used since has another number; those that became idle since are behind all of these."""
        self._found_among = 0
        self._fresh: set[OpenConnection] = set()
        """Accepted in this iteration of the loop: what they sent could not be read yet."""
        self._searches = 0
        self._searched_at = 0.0
        self.empty = asyncio.Event()
        self.empty.set()

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[OpenConnection]:
        """Go through a copy: connections may end meanwhile."""
        return iter(list(self._open))

    def set_limits(self, limits: Limits) -> None:
        self._limits = limits
        self._descriptors_for = connections_that_fit(limits.connections)
        for connection in self.swept.resting():  # by another idle timeout from now on
            connection.wake()

    def add(self, connection: OpenConnection, peer: str, now: float) -> bool:
        """False: there are too many, and none can be closed for it. `now` is the sweeper's."""
        if not self._fresh:
            self._loop.call_soon(self._fresh.clear)
        self._fresh.add(connection)
        most = min(self._limits.connections, self._descriptors_for)
        fits = self._fits(peer, most, now)
        self._open[connection] = None
        self.swept.add(connection)
        self.empty.clear()
        if fits:
            self._per_address[peer] = self._per_address.get(peer, 0) + 1
        else:
            self._leaving.add(connection)
            if len(self._leaving) > min(_MAX_LINGERING, max(_MIN_LINGERING, most // 2)):
                connection.kill()
        return fits

    def remove(self, connection: OpenConnection, peer: str) -> None:
        if connection not in self._open:
            return
        del self._open[connection]
        self.swept.remove(connection)
        if not self._open:
            self.empty.set()
        if connection in self._leaving:
            self._leaving.discard(connection)
        else:
            self._uncount(peer)
        if self._found_idle and len(self._open) < self._found_among // 2:  # most have gone
            self._found_idle.clear()

    def _fits(self, peer: str, most: int, now: float) -> bool:
        count = self._per_address.get(peer, 0)
        if (
            count >= self._limits.connections_per_address
            and not self._is_unbounded(peer)
            and not self._close_idle(peer, now)
        ):
            return False
        return len(self._open) - len(self._leaving) < most or self._close_idle(None, now)

    def _close_idle(self, peer: str | None, now: float) -> bool:
        """The one that has been idle longest, of one address or of all."""
        idle = self._take(self._found_idle.get(peer, []))
        if idle is None and self._may_search(now):
            found = self._found_idle[peer] = self._idle_of(peer)
            idle = self._take(found)
        if idle is None:
            self._found_idle.pop(peer, None)
            return False
        self._leaving.add(idle)
        self._uncount(idle.peer)
        idle.close_if_idle()
        return True

    def _idle_of(self, peer: str | None) -> list[tuple[int, OpenConnection]]:
        self._found_among = len(self._open)
        found = [
            (one.idle_number, one)
            for one in self._open
            if (peer is None or one.peer == peer)
            and one.is_between_requests
            and one not in self._leaving
            and one not in self._fresh
        ]
        found.sort(key=lambda pair: pair[0], reverse=True)
        return found

    def _take(self, found: list[tuple[int, OpenConnection]]) -> OpenConnection | None:
        """The first that is still as it was found."""
        while found:
            number, connection = found.pop()
            if (
                connection.idle_number == number
                and connection in self._open
                and connection not in self._leaving
                and connection.is_idle
            ):
                return connection
        return None

    def _may_search(self, now: float) -> bool:
        if now != self._searched_at:
            self._searched_at = now
            self._searches = 0
        self._searches += 1
        return self._searches <= _MAX_SEARCHES

    def _uncount(self, peer: str) -> None:
        count = self._per_address.get(peer, 0) - 1
        if count > 0:
            self._per_address[peer] = count
        else:
            self._per_address.pop(peer, None)
            self._found_idle.pop(peer, None)
