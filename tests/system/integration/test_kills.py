"""Kills of the front, the keeper and the engines, in every order that matters."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from support.server import stub_command, stub_config, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from support.running import StartServer

LONG_GRACE = "keeper: {grace: 60}"
"""For a front that is started again: on a machine that is busy this takes many seconds."""


def test_a_restarted_front_adopts_the_running_engine(
    modelswap_server: StartServer, tmp_path: Path
) -> None:
    """After SIGKILL of the front and a restart, the same process answers; nothing was loaded anew."""
    journal = tmp_path / "starts"
    flags = ("--journal", str(journal))
    server = modelswap_server(stub_config("a", extra=LONG_GRACE, flags=flags))
    before = server.stub_state("a")["pid"]
    server.kill()
    server.start()
    wait_until(lambda: server.running() == {"a": "ready"}, what="adoption")
    assert server.stub_state("a")["pid"] == before
    assert len(journal.read_text().splitlines()) == 1


def test_a_front_that_is_not_restarted_leaves_nothing(modelswap_server: StartServer) -> None:
    """When no new front starts, keeper and engines have ended after the grace period."""
    server = modelswap_server(stub_config("a", extra="keeper: {grace: 1}"))
    assert server.chat("a").status == 200
    server.kill()
    wait_until(lambda: not server.processes(), what="everything is gone")


def test_an_engine_that_ignores_sigterm_does_not_outlive_the_grace(
    modelswap_server: StartServer,
) -> None:
    """An engine that ignores SIGTERM ends too, when no new front starts."""
    server = modelswap_server(stub_config("a", extra="keeper: {grace: 1}", flags=("--deaf",)))
    assert server.chat("a").status == 200
    server.kill()
    wait_until(lambda: not server.processes(), 30, what="everything is gone")


def test_a_killed_keeper_leaves_no_engine(modelswap_server: StartServer) -> None:
    """Its engines end with the keeper; the front starts a new one for the next request."""
    server = modelswap_server(stub_config("a"))
    before = server.stub_state("a")["pid"]
    os.kill(server.keeper_pid(), signal.SIGKILL)
    wait_until(lambda: before not in server.processes(), what="the engine is gone")
    wait_until(lambda: server.chat("a").status == 200, what="the front recovers")
    assert server.stub_state("a")["pid"] != before


def test_front_and_keeper_killed_together_leave_nothing(modelswap_server: StartServer) -> None:
    """Both killed at once: no engine is left."""
    server = modelswap_server(stub_config("a"))
    assert server.chat("a").status == 200
    keeper = server.keeper_pid()
    server.kill()
    os.kill(keeper, signal.SIGKILL)
    wait_until(lambda: not server.processes(), what="everything is gone")


def test_a_wrapper_and_its_child_are_stopped_together(modelswap_server: StartServer) -> None:
    """A shell that starts the engine in the background does not orphan it."""
    inner = stub_command("a").replace('"', '\\"')
    server = modelswap_server(f'models:\n  a:\n    cmd: sh -c "{inner} & wait"\n')
    assert server.chat("a").status == 200
    assert len(server.model_pids()) == 2
    assert server.ask("POST", "/api/models/unload").status == 200
    wait_until(lambda: not server.model_pids(), what="wrapper and engine are gone")


def test_a_normal_stop_takes_everything_along(modelswap_server: StartServer) -> None:
    """SIGTERM to the front: exit code 0 and no process left."""
    server = modelswap_server(stub_config("a"))
    assert server.chat("a").status == 200
    assert server.stop() == 0
    wait_until(lambda: not server.processes(), what="everything is gone")


def test_a_changed_model_is_not_adopted(modelswap_server: StartServer) -> None:
    """A front that restarts with another command for the model starts it anew."""
    server = modelswap_server(stub_config("a", extra=LONG_GRACE))
    before = server.stub_state("a")["pid"]
    server.kill()
    server.write_config(stub_config("a", extra=LONG_GRACE, flags=("--memory", "1")))
    server.start()
    assert server.stub_state("a")["pid"] != before
    wait_until(lambda: before not in server.processes(), what="the old one is gone")
