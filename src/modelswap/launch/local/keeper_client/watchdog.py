"""Notices a keeper that takes orders and executes none (stopped, or hung on a dead disk).

Each order is followed by a question, if none is open; its answer proves that the order was taken. There
is no timer while no question is open.

Guarantees: time in which this process itself did not run does not count: the answer may then lie ready
to be read, so there is a second, shorter, wait.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from modelswap.suspension import SUSPENDED_AFTER

if TYPE_CHECKING:
    from collections.abc import Callable


class KeeperWatchdog:
    def __init__(
        self, timeout: float, ask: Callable[[], None], on_timeout: Callable[[], None]
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
