"""Front, keeper, wrapper, guard and engine are killed in every order and at every moment.

The fixture checks after each test that no process is left. It finds each descendant by an environment
variable that all descendants inherit. Each request meanwhile ends exactly once.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.load_clients import HUNG, LoadClients, one_request, rest_of, slow_stream
from support.server import parent_of, stub_command, stub_config, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.running import StartServer
    from support.server import Modelswap

GRACE = "keeper: {grace: 1}"
LONG_GRACE = "keeper: {grace: 60}"
"""For a front that is started again: on a machine that is busy this takes many seconds."""


def kill(pid: int | None) -> None:
    """Kill a process that may have exited already."""
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def guard_of(server: Modelswap) -> int | None:
    """Return the keeper's guard, while it waits."""
    rows = server.processes().items()
    return next((pid for pid, line in rows if "modelswap-guard" in line), None)


def wrapped(name: str) -> str:
    """A model whose command is a shell that waits for the engine it started."""
    inner = stub_command(name).replace('"', '\\"')
    return f'{GRACE}\nmodels:\n  {name}:\n    cmd: sh -c "{inner} & wait"\n'


def zombies_of(server: Modelswap) -> list[int]:
    """Ended processes that front or keeper have not waited for."""
    ours = {server.pid, server.keeper_pid()}
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                if state == "Z" and parent_of(int(entry.name)) in ours:
                    found.append(int(entry.name))
    return found


ORDERS = list(itertools.permutations(("front", "keeper", "guard", "engine"), 3))


@pytest.mark.parametrize("order", ORDERS[::2], ids="-".join)
def test_any_three_killed_in_any_order_leave_nothing(
    modelswap_server: StartServer, order: tuple[str, ...]
) -> None:
    """When any three are killed right after each other, wrapper and engine end, with or without a front."""
    server = modelswap_server(wrapped("a"))
    assert server.chat("a").status == 200
    engine = next(pid for pid, line in server.model_pids().items() if not line.startswith("sh"))
    pids = {
        "front": server.pid,
        "keeper": server.keeper_pid(),
        "guard": guard_of(server),
        "engine": engine,
    }
    for name in order:
        kill(pids[name])
    if "front" in order:
        assert server.process is not None
        server.process.wait(30)
        if "engine" not in order:  # nobody who could see to it is left: the next front does
            server.start()
            wait_until(lambda: engine not in server.processes(), what="the old engine is gone")
            assert server.stop() == 0
        wait_until(lambda: not server.processes(), what="everything is gone")
    else:
        wait_until(lambda: server.chat("a").status == 200, what="the front recovers")
        assert not set(pids.values()) - {server.pid} & server.processes().keys()


@pytest.mark.parametrize("victim", ["keeper", "guard", "engine"])
def test_repeated_kills_under_load(modelswap_server: StartServer, victim: str) -> None:
    """Killed over and over under load: each request ends, no zombie stays, the program goes on serving."""
    server = modelswap_server(stub_config("a", "b"))
    assert server.chat("a").status == 200
    find: dict[str, Callable[[], int | None]] = {
        "keeper": server.keeper_pid,
        "guard": lambda: guard_of(server),
        "engine": lambda: next(iter(server.model_pids()), None),
    }
    with LoadClients(server, ["a", "b"], n=3, delay_ms=5) as load_clients:
        for _ in range(6):
            with suppress(AssertionError):  # just between one keeper and the next
                kill(find[victim]())
            time.sleep(0.25)
        served = load_clients.endings["200"]
        wait_until(lambda: load_clients.endings["200"] > served, 60, what="it goes on, under load")
    load_clients.assert_all_ended()
    assert zombies_of(server) == []


@pytest.mark.parametrize("flags", [("--ready-after", "0.4"), ("--stop-takes", "0.4")])
@pytest.mark.parametrize("victim", ["keeper", "front", "engine"])
def test_kill_while_starting_or_stopping(
    modelswap_server: StartServer, flags: tuple[str, ...], victim: str
) -> None:
    """A kill in the middle of a load or of a stop loses no request for good and leaves no process."""
    server = modelswap_server(stub_config("a", "b", extra=GRACE, flags=flags))
    if "--stop-takes" in flags:
        assert server.chat("a").status == 200
    endings: list[str] = []
    asking = threading.Thread(target=lambda: endings.append(one_request(server, "b", 30)))
    asking.start()
    wait_until(server.model_pids, what="something starts or stops")
    time.sleep(0.15)
    if victim == "front":
        server.kill()
    else:
        kill(server.keeper_pid() if victim == "keeper" else next(iter(server.model_pids()), None))
    asking.join(40)
    assert endings
    assert endings[0] != HUNG
    if victim == "front":
        wait_until(lambda: not server.processes(), what="everything is gone")
    else:
        wait_until(lambda: server.chat("b").status == 200, what="the front recovers")


@pytest.mark.parametrize("victim", ["engine", "keeper"])
def test_kill_in_the_middle_of_a_stream(modelswap_server: StartServer, victim: str) -> None:
    """The client of a broken stream sees that it is broken: an error event, then no clean end."""
    server = modelswap_server(stub_config("a"))
    with slow_stream(server, "a", events=1000, delay_ms=20) as connection:
        kill(server.keeper_pid() if victim == "keeper" else next(iter(server.model_pids())))
        rest = rest_of(connection)
    assert b"[DONE]" not in rest
    assert not rest.endswith(b"0\r\n\r\n")
    assert b'"error"' in rest


def test_engine_killed_before_the_response(modelswap_server: StartServer) -> None:
    """A request whose engine is killed while it runs gets a 502, and is not run a second time."""
    server = modelswap_server(stub_config("a"))
    assert server.chat("a").status == 200
    answer = server.chat("a", fault="crash")
    assert answer.status == 502
    assert answer.json()["error"]["code"] == "bad_gateway"
    wait_until(lambda: server.chat("a").status == 200, what="the next request starts it anew")


def test_repeated_front_crashes_keep_the_engine(
    modelswap_server: StartServer, tmp_path: Path
) -> None:
    """Five crashes of the front, each followed by a new front, load nothing anew."""
    journal = tmp_path / "starts"
    server = modelswap_server(stub_config("a", extra=LONG_GRACE, flags=("--journal", str(journal))))
    assert server.chat("a").status == 200
    for _ in range(5):
        server.kill()
        server.start()
        assert server.chat("a").status == 200
    assert len(journal.read_text().splitlines()) == 1


def test_front_killed_in_the_middle_of_streams(modelswap_server: StartServer) -> None:
    """The next front serves at once, although the engine still writes to connections of the last."""
    server = modelswap_server(stub_config("a", extra=LONG_GRACE))
    streams = [slow_stream(server, "a", events=500, delay_ms=20) for _ in range(5)]
    before = server.stub_state("a")["pid"]
    server.kill()
    server.start()
    assert server.chat("a").status == 200
    assert server.stub_state("a")["pid"] == before
    for stream in streams:
        assert b"[DONE]" not in rest_of(stream)
        stream.close()
    wait_until(lambda: server.stub_state("a")["open"] == 0, what="the old requests are cancelled")


def test_front_killed_while_its_keeper_starts(modelswap_server: StartServer) -> None:
    """A front that is killed while it starts leaves no keeper behind."""
    dice = random.Random(1)  # noqa: S311 - dice, not secrets
    server = modelswap_server(stub_config("a", extra=GRACE), start=False)
    for _ in range(5):
        server.spawn()
        time.sleep(dice.uniform(0.1, 0.5))
        server.kill()
    wait_until(lambda: not server.processes(), what="everything is gone")


def test_changed_environment_is_not_adopted(modelswap_server: StartServer) -> None:
    """A server started with other variables is stopped, not adopted."""

    def config(value: str) -> str:
        return stub_config("a", extra=LONG_GRACE) + f"    env: ['COLOUR={value}']\n"

    server = modelswap_server("startPort: 28100\n" + config("red"))
    before = server.stub_state("a")["pid"]
    server.kill()
    server.write_config("startPort: 28100\n" + config("blue"))
    server.start()
    assert server.stub_state("a")["pid"] != before
    wait_until(lambda: before not in server.processes(), what="the old one is gone")


def test_server_that_exited_without_a_front_is_not_adopted(modelswap_server: StartServer) -> None:
    """The engine exits between two fronts: the second front starts its own."""
    server = modelswap_server(stub_config("a", extra=LONG_GRACE))
    before = server.stub_state("a")["pid"]
    server.kill()
    kill(before)
    server.start()
    assert server.chat("a").status == 200
    assert server.stub_state("a")["pid"] != before


def test_second_front_on_the_state_directory(modelswap_server: StartServer) -> None:
    """It says so in one line and exits; the first front and its engine go on."""
    server = modelswap_server(stub_config("a"))
    before = server.stub_state("a")["pid"]
    second = modelswap_server(stub_config("a"), start=False)
    second.flags = ("--state-dir", str(server.state_dir))
    assert second.spawn().wait(30) == 1
    assert len(second.log().splitlines()) == 1
    assert "another modelswap" in second.log()
    assert server.stub_state("a")["pid"] == before
