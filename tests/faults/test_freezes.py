"""Processes that stand still: a stopped front, a hung keeper, a suspended machine."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fakes.server import stub_config, wait_until
from faults.crowd import one_request, rest_of, slow_stream
from modelswap.launch.local_watch import Pulse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import StartServer
    from fakes.server import Modelswap


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
def one_in_background(server: Modelswap) -> Iterator[list[str]]:
    """One request beside what the test does; its ending is in the list afterwards."""
    endings: list[str] = []
    asking = threading.Thread(target=lambda: endings.append(one_request(server, "a", 60)))
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


class Hung:
    """Counts the questions, and whether it was given up."""

    def __init__(self) -> None:
        self.questions = 0
        self.is_given_up = False

    def ask(self) -> None:
        self.questions += 1

    def give_up(self) -> None:
        self.is_given_up = True


async def test_keeper_that_answers_is_not_given_up() -> None:
    """One question is open at a time, and an answer ends the wait."""
    keeper = Hung()
    pulse = Pulse(0.05, keeper.ask, keeper.give_up)
    pulse.on_order()
    pulse.on_order()
    pulse.on_answer()
    await asyncio.sleep(0.2)
    assert (keeper.questions, keeper.is_given_up) == (1, False)


async def test_time_in_which_we_stood_still_does_not_count() -> None:
    """An answer that lies ready when we wake up comes before the verdict."""
    keeper = Hung()
    pulse = Pulse(0.05, keeper.ask, keeper.give_up)
    pulse.on_order()
    time.sleep(0.3)  # noqa: ASYNC251 - that is the point
    asyncio.get_running_loop().call_later(0.01, pulse.on_answer)
    await asyncio.sleep(0.2)
    assert not keeper.is_given_up
