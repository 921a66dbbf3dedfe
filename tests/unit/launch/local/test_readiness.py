"""When it is asked who answers in a server's place."""

from __future__ import annotations

import asyncio

import pytest

from modelswap.launch.local import readiness
from modelswap.launch.local.ports import Holder
from modelswap.launch.local.readiness import HolderCheck

OTHER = Holder(7, "other")


class Port:
    """A port whose holder changes, and that takes its time to say who it is."""

    def __init__(self) -> None:
        self.holder: Holder | None = None
        self.asked = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def find(self) -> Holder | None:
        self.asked += 1
        holder = self.holder
        await self.may_answer.wait()
        return holder


@pytest.fixture(autouse=True)
def checks_take_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """So none is left out for having taken long."""
    monkeypatch.setattr(readiness, "_REST", 0)


async def test_it_is_asked_once_for_each_probe() -> None:
    """Beside the probe, not after it."""
    port = Port()
    async with asyncio.TaskGroup() as tasks:
        check = HolderCheck(tasks, port.find)
        for count in (1, 2, 3):
            check.on_sent()
            await asyncio.sleep(0)
            assert port.asked == count, "it is asked while the answer is on its way"
            assert await check.result() is None
            assert port.asked == count


async def test_a_process_that_takes_the_port_between_two_probes_is_found() -> None:
    """What was found at a probe that was not passed says nothing about the next one."""
    port = Port()
    async with asyncio.TaskGroup() as tasks:
        check = HolderCheck(tasks, port.find)
        check.on_sent()  # answered 503
        await asyncio.sleep(0)
        port.holder = OTHER
        check.on_sent()  # answered 200
        assert await check.result() is OTHER


async def test_a_check_from_before_the_probe_does_not_count() -> None:
    """It was still asked when the next probe was sent, so it is asked again."""
    port = Port()
    port.may_answer.clear()
    async with asyncio.TaskGroup() as tasks:
        check = HolderCheck(tasks, port.find)
        check.on_sent()
        await asyncio.sleep(0)
        port.holder = OTHER
        check.on_sent()
        assert port.asked == 1, "one at a time"
        port.may_answer.set()
        assert await check.result() is OTHER
    assert port.asked == 2


async def test_after_a_long_check_none_is_begun_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking at all processes for each answer of a server that loads would use up a processor."""
    monkeypatch.setattr(readiness, "_REST", 1e9)
    port = Port()
    async with asyncio.TaskGroup() as tasks:
        check = HolderCheck(tasks, port.find)
        check.on_sent()
        assert await check.result() is None
        port.holder = OTHER
        check.on_sent()
        await asyncio.sleep(0)
        assert port.asked == 1
        assert await check.result() is OTHER, "after the answer it is asked anyway"
    assert port.asked == 2
