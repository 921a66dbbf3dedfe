"""Which connections a sweep looks at: those in use, and of the idle ones those whose time is over.

Guarantees: a sweep costs nothing for a connection that has been idle for `REST_AFTER`, however many
there are; it is looked at again when its idle timeout ends, up to a second late.
"""

from __future__ import annotations

from typing import Final, Generic, TypeVar

from modelswap.units import Seconds

REST_AFTER: Final = Seconds(1.0)
"""Idle for longer, a client is unlikely to send its next request before the next few sweeps."""

T = TypeVar("T")


class SweptConnections(Generic[T]):
    def __init__(self) -> None:
        self._awake: dict[T, None] = {}
        self._seconds: dict[T, int] = {}
        """When a resting connection is looked at again."""
        self._resting: dict[int, dict[T, None]] = {}
        self._looked_at = 0

    def add(self, connection: T) -> None:
        """Look at it in each sweep from now on."""
        self._leave_rest(connection)
        self._awake[connection] = None

    def rest(self, connection: T, until: float) -> None:
        """Look at it again when *until* is over, on the sweeper's clock."""
        self._leave_rest(connection)
        self._awake.pop(connection, None)
        second = self._seconds[connection] = int(until) + 1
        self._resting.setdefault(second, {})[connection] = None

    def remove(self, connection: T) -> None:
        self._leave_rest(connection)
        self._awake.pop(connection, None)

    def resting(self) -> list[T]:
        return list(self._seconds)

    def due(self, now: float) -> list[T]:
        """Return those to look at now; they rest no more."""
        second = int(now)
        if second != self._looked_at:
            self._looked_at = second
            for over in [other for other in self._resting if other <= second]:
                for connection in list(self._resting[over]):
                    self.add(connection)
        return list(self._awake)

    def _leave_rest(self, connection: T) -> None:
        second = self._seconds.pop(connection, None)
        if second is not None:
            del self._resting[second][connection]
            if not self._resting[second]:
                del self._resting[second]
