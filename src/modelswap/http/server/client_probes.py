"""Finds out whether a client is still there that takes nothing more, or sends nothing more.

The kernel reports neither by itself: it buffers megabytes for a client that reads nothing, and a
client that closes its sending side may still wait for its response.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from modelswap.http.transport.sockets import unsent
from modelswap.units import Seconds

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from modelswap.http.limits import Limits

_PROBES: Final = (Seconds(0.02), Seconds(0.25), Seconds(1))
"""Until the next probe: a reset comes back within a round trip."""


class SlowReader:
    def __init__(self, transport: asyncio.Transport | None, now: float) -> None:
        self._unsent = 0 if transport is None else unsent(transport)
        self._since = now

    def is_too_slow(self, transport: asyncio.Transport, now: float, limits: Limits) -> bool:
        """Whether it takes its response more slowly than a body may come: it keeps a model."""
        if now - self._since <= limits.body_timeout:
            return False
        left = unsent(transport)
        taken, self._unsent, self._since = self._unsent - left, left, now
        return taken < max(1, limits.body_min_rate * limits.body_timeout)


class HalfClosedProbe:
    """Asks `is_wanted` before each probe: a closed socket responds with a reset."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        write: Callable[[bytes], None],
        is_wanted: Callable[[], bool],
    ) -> None:
        self._loop = loop
        self._write = write
        self._is_wanted = is_wanted
        self._handle: asyncio.TimerHandle | None = None
        self._send(0)

    def cancel(self) -> None:
        if self._handle is not None:
            self._handle.cancel()

    def _send(self, count: int) -> None:
        self._handle = None
        if not self._is_wanted():
            return
        self._write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if count < len(_PROBES):
            self._handle = self._loop.call_later(_PROBES[count], self._send, count + 1)
