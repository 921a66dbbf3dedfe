"""The open connections: how many there may be, in all and per address, and which one makes room.

Guarantees: at most `limits.connections` are served, and `limits.connectionsPerAddress` of one
address, unless the address is unbounded (this machine, a trusted proxy). At a limit the connection
that has been idle longest is closed; only when none is idle is the new one refused.
Memory: refused connections that wait for their client to read the refusal are bounded too.
Does not: cost anything per request; connections are looked through only when a limit is reached.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelswap.net.descriptors import connections_that_fit

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator

    from modelswap.http.limits import Limits

    from .endpoint import ServerEndpoint

_LINGERING = 256
"""Refused connections that may wait for their client to read the refusal; more are cut at once."""
_LINGER_ALWAYS = 16
"""So many of them wait also where the limit is low."""
_LOOKS = 20
"""Looks through all connections per tick of the clock (0.25 s): each costs about 0.5 ms for 4,096."""


class Connections:
    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limits: Limits,
        is_unbounded: Callable[[str], bool],
    ) -> None:
        """`is_unbounded` tells whether an address may have any number of connections."""
        self._loop = loop
        self._limits = limits
        self._is_unbounded = is_unbounded
        self._fitting = limits.connections
        """Connections for which there are file descriptors."""
        self._open: dict[ServerEndpoint, None] = {}
        self._leaving: set[ServerEndpoint] = set()
        """Refused, or closed to make room: open for a moment, and not counted."""
        self._per_address: dict[str, int] = {}
        self._idlest: dict[str | None, list[tuple[int, ServerEndpoint]]] = {}
        """Of an address, or of all: what the last look found idle, the idlest last. A connection
        that was used since has another turn; those that became idle since are behind all of these."""
        self._found_among = 0
        """Connections at the last look."""
        self._fresh: set[ServerEndpoint] = set()
        """Accepted in this turn of the loop: what they sent could not be read yet."""
        self._looks = 0
        self._looked_at = 0.0

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[ServerEndpoint]:
        """Go through a copy: connections may end meanwhile."""
        return iter(list(self._open))

    def set_limits(self, limits: Limits) -> None:
        """New limits, for connections that come from now on."""
        self._limits = limits
        self._fitting = connections_that_fit(limits.connections)

    def add(self, connection: ServerEndpoint, peer: str, now: float) -> bool:
        """Count a connection, and make room for it; False: there is none. `now` is the ticker's."""
        if not self._fresh:
            self._loop.call_soon(self._fresh.clear)
        self._fresh.add(connection)
        most = min(self._limits.connections, self._fitting)
        fits = self._has_room(peer, most, now)
        self._open[connection] = None
        if fits:
            self._per_address[peer] = self._per_address.get(peer, 0) + 1
        else:
            self._leaving.add(connection)
            if len(self._leaving) > min(_LINGERING, max(_LINGER_ALWAYS, most // 2)):
                connection.kill()
        return fits

    def remove(self, connection: ServerEndpoint, peer: str) -> None:
        if connection not in self._open:
            return
        del self._open[connection]
        if connection in self._leaving:
            self._leaving.discard(connection)
        else:
            self._uncount(peer)
        if self._idlest and len(self._open) < self._found_among // 2:  # the crowd has gone
            self._idlest.clear()

    def _has_room(self, peer: str, most: int, now: float) -> bool:
        count = self._per_address.get(peer, 0)
        if (
            count >= self._limits.connections_per_address
            and not self._is_unbounded(peer)
            and not self._make_room(peer, now)
        ):
            return False
        return len(self._open) - len(self._leaving) < most or self._make_room(None, now)

    def _make_room(self, peer: str | None, now: float) -> bool:
        """Close the connection that has been idle longest, of one address or of all."""
        idlest = self._take(self._idlest.get(peer, []))
        if idlest is None and self._may_look(now):
            found = self._idlest[peer] = self._idle_of(peer)
            idlest = self._take(found)
        if idlest is None:
            self._idlest.pop(peer, None)
            return False
        self._leaving.add(idlest)
        self._uncount(idlest.peer)
        idlest.close_if_idle()
        return True

    def _idle_of(self, peer: str | None) -> list[tuple[int, ServerEndpoint]]:
        self._found_among = len(self._open)
        found = [
            (one.turn, one)
            for one in self._open
            if (peer is None or one.peer == peer)
            and one.is_resting
            and one not in self._leaving
            and one not in self._fresh
        ]
        found.sort(key=lambda pair: pair[0], reverse=True)
        return found

    def _take(self, found: list[tuple[int, ServerEndpoint]]) -> ServerEndpoint | None:
        """Take out of `found` the first that is still as it was found."""
        while found:
            turn, connection = found.pop()
            if (
                connection.turn == turn
                and connection in self._open
                and connection not in self._leaving
                and connection.is_idle
            ):
                return connection
        return None

    def _may_look(self, now: float) -> bool:
        if now != self._looked_at:
            self._looked_at = now
            self._looks = 0
        self._looks += 1
        return self._looks <= _LOOKS

    def _uncount(self, peer: str) -> None:
        count = self._per_address.get(peer, 0) - 1
        if count > 0:
            self._per_address[peer] = count
        else:
            self._per_address.pop(peer, None)
            self._idlest.pop(peer, None)
