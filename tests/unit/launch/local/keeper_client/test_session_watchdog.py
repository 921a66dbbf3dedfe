"""A keeper that executes no orders is noticed."""

from __future__ import annotations

import asyncio
import time

from modelswap.launch.local.keeper_client.session import KeeperWatchdog
from modelswap.units import Seconds


class HungKeeper:
    """Counts the questions, and whether it was given up."""

    def __init__(self) -> None:
        self.questions = 0
        self.given_up = asyncio.Event()

    def ask(self) -> None:
        self.questions += 1

    def watchdog(self) -> KeeperWatchdog:
        return KeeperWatchdog(Seconds(0.05), self.ask, self.given_up.set)


async def test_keeper_that_answers() -> None:
    """One question is open at a time, and an answer ends the wait."""
    keeper = HungKeeper()
    watchdog = keeper.watchdog()
    watchdog.on_order()
    watchdog.on_order()
    watchdog.on_answer()
    await asyncio.sleep(0.2)
    assert (keeper.questions, keeper.given_up.is_set()) == (1, False)


async def test_keeper_that_does_not_answer() -> None:
    """It is given up after its time and the second wait."""
    keeper = HungKeeper()
    keeper.watchdog().on_order()
    async with asyncio.timeout(30):
        await keeper.given_up.wait()


async def test_suspended_time_does_not_count() -> None:
    """An answer that can be read after a suspension comes before the verdict."""
    keeper = HungKeeper()
    watchdog = keeper.watchdog()
    watchdog.on_order()
    time.sleep(0.3)  # noqa: ASYNC251 - that is the point
    asyncio.get_running_loop().call_later(0.01, watchdog.on_answer)
    await asyncio.sleep(0.2)
    assert not keeper.given_up.is_set()
