"""What blocks runs on a thread, in order, and comes back to the loop."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

from modelswap.fleet.memory.readings.worker import Worker

if TYPE_CHECKING:
    import pytest


async def test_results_come_back_in_order_on_the_loop() -> None:
    """One job after another runs on another thread; the results arrive on the loop's."""
    worker = Worker(asyncio.get_running_loop())
    found: list[object] = []
    whole = asyncio.Event()
    started, held = threading.Event(), threading.Event()

    def first() -> int:
        started.set()
        held.wait()
        return threading.get_ident()

    worker.run(first, found.append, found.append)
    worker.run(lambda: found[:], found.append, found.append)
    worker.run(lambda: 3, lambda _: whole.set(), found.append)
    started.wait()
    held.set()
    async with asyncio.timeout(30):
        await whole.wait()
    assert len(found) == 2
    assert found[0] != threading.get_ident()


async def test_an_error_of_a_job_is_told() -> None:
    """The jobs behind it run all the same, also when the thread has ended meanwhile."""
    worker = Worker(asyncio.get_running_loop())
    found: list[object] = []
    for job in (lambda: 1 // 0, lambda: 7):
        told: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        worker.run(job, told.set_result, told.set_result)
        async with asyncio.timeout(30):
            found.append(await told)
    assert isinstance(found[0], ZeroDivisionError)
    assert found[1] == 7


async def test_without_a_thread_the_job_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that gives no thread is an error of the job, not of the caller."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    worker = Worker(asyncio.get_running_loop())
    failed: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        worker.run(lambda: 1, lambda _: None, failed.set_result)
    async with asyncio.timeout(30):
        assert isinstance(await failed, RuntimeError)
    done = asyncio.Event()
    worker.run(lambda: 1, lambda _: done.set(), lambda _: None)
    async with asyncio.timeout(30):
        await done.wait()


async def test_a_result_after_the_loop_has_closed_is_lost() -> None:
    """The program's end does not wait for a driver."""
    loop = asyncio.new_event_loop()
    worker = Worker(loop)
    held, over = threading.Event(), threading.Event()

    def job() -> None:
        held.wait()

    def next_job() -> None:
        over.set()

    worker.run(job, lambda _: None, lambda _: None)
    worker.run(next_job, lambda _: None, lambda _: None)
    loop.close()
    held.set()
    assert over.wait(30)
