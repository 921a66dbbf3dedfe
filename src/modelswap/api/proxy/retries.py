"""Decides whether and when a request is tried again whose server ended before it had begun."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from modelswap.http import EndReason
from modelswap.units import Seconds

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from modelswap.http import RelayResult

RETRIES: Final = 4
"""Four pauses are 0.75 s together: a server that is still listed then has not exited."""
RETRY_PAUSE: Final = Seconds(0.05)
"""Until the first retry; doubles. Enough for the news of the server's exit to arrive."""
_UNBEGUN: Final = frozenset(
    {EndReason.CONNECT_FAILED, EndReason.CONNECT_TIMEOUT, EndReason.UPSTREAM_LOST}
)
"""There was no connection, so nothing was sent: with `never_ran`."""


def may_resend(result: RelayResult, *, is_whole: bool) -> bool:
    """Tell whether the request cannot have begun, or perhaps has not; a streamed body is used up."""
    if not is_whole and not (result.never_ran and result.reason in _UNBEGUN):
        return False
    return result.never_ran or result.was_reset


@dataclass(slots=True, eq=False)
class Retries:
    loop: asyncio.AbstractEventLoop
    _count: int = field(default=0, init=False)
    _timer: asyncio.TimerHandle | None = field(default=None, init=False)

    @property
    def are_used_up(self) -> bool:
        return self._count >= RETRIES

    def start(self, call: Callable[[RelayResult], None], result: RelayResult) -> None:
        """Call `call(result)` after the next pause."""
        delay = RETRY_PAUSE * 2**self._count
        self._count += 1
        self._timer = self.loop.call_later(delay, call, result)

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
