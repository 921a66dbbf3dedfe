"""Processes that stand still: a stopped front, a hung keeper, a suspended machine."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from modelswap.http.transport.deadline_sweeper import DeadlineSweeper
from support.load import one_request, rest_of, slow_stream
from support.server import stub_config, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import StartServer
    from support.server import Modelswap


def test_front_that_stood_still(modelswap_server: StartServer) -> None:
    """After five seconds of SIGSTOP streams go on, the engine lives, and requests are served."""
    server = modelswap_server(stub_config("a"))
    with slow_stream(server, "a", events=60, delay_ms=20) as stream:
        before = server.stub_state("a")["pid"]
        os.kill(server.pid, signal.SIGSTOP)
        time.sleep(5)
        os.kill(server.pid, signal.SIGCONT)
        assert b"[DONE]" in rest_of(stream, end=b"[DONE]")
    assert server.stub_state("a")["pid"] == before


@contextmanager
def one_in_background(server: Modelswap, **fields: object) -> Iterator[list[str]]:
    """One request beside what the test does; its ending is in the list afterwards."""
    endings: list[str] = []
    asking = threading.Thread(target=lambda: endings.append(one_request(server, "a", 60, **fields)))
    asking.start()
    yield endings
    asking.join(60)


def test_keeper_that_stood_still_for_a_moment(modelswap_server: StartServer) -> None:
    """Orders given meanwhile are carried out afterwards, and nothing is killed for it."""
    server = modelswap_server(stub_config("a", "b"))
    assert server.chat("a").status == 200
    keeper = server.keeper_pid()
    os.kill(keeper, signal.SIGSTOP)
    with one_in_background(server) as endings:
        time.sleep(2)
        os.kill(keeper, signal.SIGCONT)
    assert endings == ["200"]
    assert server.keeper_pid() == keeper


def test_stop_with_a_hung_keeper(modelswap_server: StartServer) -> None:
    """A keeper that never answers is killed in the end; the stop is bounded, and nothing is left."""
    server = modelswap_server(stub_config("a", extra="unloadTimeout: 1"))
    assert server.chat("a").status == 200
    os.kill(server.keeper_pid(), signal.SIGSTOP)
    assert server.stop(40) == 3
    wait_until(lambda: not server.processes(), 5, what="everything is gone")


async def test_deadlines_do_not_run_while_we_stand_still() -> None:
    """The clock by which connections are judged stops with us."""
    looks: list[float] = []

    def look(now: float) -> bool:
        looks.append(now)
        return True

    ticker = DeadlineSweeper(asyncio.get_running_loop(), look)
    before = ticker.now
    ticker.wake()
    time.sleep(2)  # noqa: ASYNC251 - that is the point
    await asyncio.sleep(0.6)
    ticker.stop()
    assert len(looks) >= 2
    assert looks[0] - before < 1
    assert 0 < looks[1] - looks[0] < 1


def test_answer_that_came_while_we_stood_still(modelswap_server: StartServer) -> None:
    """It is read, not timed out, although its time is long over."""
    config = stub_config("a") + "    timeouts: {responseHeader: 2}\n"
    server = modelswap_server(config)
    assert server.chat("a").status == 200
    before = server.stub_state("a")["pid"]
    with one_in_background(server, delay_ms=300) as endings:
        wait_until(lambda: server.stub_state("a")["open"], what="the engine has it")
        os.kill(server.pid, signal.SIGSTOP)
        time.sleep(3.5)
        os.kill(server.pid, signal.SIGCONT)
    assert endings == ["200"]
    assert server.stub_state("a")["pid"] == before
