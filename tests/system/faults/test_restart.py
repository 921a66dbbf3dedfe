"""A requested restart: which models it unloads, which it keeps, and which messages systemd gets."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.load_clients import rest_of, slow_stream
from support.running import RUNNING
from support.server import stub_config, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.running import StartServer
    from support.server import Modelswap

KEEP = "keeper: {onRestart: keep, grace: 60}"
"""The grace is long: on a machine that is busy a start takes many seconds."""


@pytest.fixture(autouse=True)
def stop_kept_models(modelswap_server: StartServer) -> Iterator[None]:  # noqa: ARG001 - it ends after this
    """Stop the models that would outlive the SIGTERM at the end of a test, and so the keeper."""
    yield
    for server in RUNNING:
        if "onRestart: keep" in server.config_text:
            assert server.process is not None
            if server.process.poll() is None:
                server.process.send_signal(signal.SIGINT)
                server.process.wait(30)


def signalled(server: Modelswap, *numbers: int) -> int:
    """Send the signals, each after the one before was handled; return the exit code."""
    assert server.process is not None
    for number in numbers:
        server.process.send_signal(number)
        wait_until(lambda: "stopping: finishing" in server.log(), what="it has taken note")
    return server.process.wait(30)


def test_a_restart_unloads_by_default(modelswap_server: StartServer) -> None:
    """SIGTERM: no model is left when the program has ended."""
    server = modelswap_server(stub_config("a"))
    assert server.chat("a").status == 200
    assert signalled(server, signal.SIGTERM) == 0
    assert not server.processes()


def test_a_restart_that_keeps_the_models(modelswap_server: StartServer, tmp_path: Path) -> None:
    """SIGTERM and a start with `onRestart: keep`: the same process answers, twice in a row."""
    journal = tmp_path / "starts"
    text = stub_config("a", extra=KEEP, flags=("--journal", str(journal)))
    server = modelswap_server(text)
    before = server.stub_state("a")["pid"]
    for _ in range(2):
        assert signalled(server, signal.SIGTERM) == 0
        assert before in server.processes()
        server.start()
        wait_until(lambda: server.running() == {"a": "ready"}, what="adoption")
        assert server.stub_state("a")["pid"] == before
    assert len(journal.read_text().splitlines()) == 1


def test_running_requests_finish_before(modelswap_server: StartServer) -> None:
    """A stream in progress reaches its end, and the model stays."""
    server = modelswap_server(stub_config("a", extra=KEEP))
    with slow_stream(server, "a", events=40, delay_ms=25) as connection:
        assert server.process is not None
        server.process.terminate()
        assert b"data: [DONE]" in rest_of(connection)
    assert server.process.wait(30) == 0
    assert "models stay loaded" in server.log()
    server.start()
    wait_until(lambda: server.running() == {"a": "ready"})


def test_without_a_new_start(modelswap_server: StartServer) -> None:
    """No front starts within the grace period: the keeper stops the models and exits."""
    server = modelswap_server(stub_config("a", extra="keeper: {onRestart: keep, grace: 3}"))
    assert server.chat("a").status == 200
    assert signalled(server, signal.SIGTERM) == 0
    assert server.processes()
    wait_until(lambda: not server.processes(), what="everything is gone")


def test_nothing_to_keep(modelswap_server: StartServer) -> None:
    """Without a model the keeper exits at once."""
    server = modelswap_server(stub_config("a", extra="keeper: {onRestart: keep, grace: 60}"))
    assert signalled(server, signal.SIGTERM) == 0
    wait_until(lambda: not server.processes(), what="everything is gone")


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_the_models(modelswap_server: StartServer, first: int) -> None:
    """SIGINT stops the models, also after a SIGTERM."""
    server = modelswap_server(stub_config("a", extra=KEEP))
    with slow_stream(server, "a", events=100_000, delay_ms=20):
        signalled(server, first, signal.SIGINT)
    wait_until(lambda: not server.processes(), what="everything is gone")


def test_a_second_sigterm_cuts_the_requests_only(modelswap_server: StartServer) -> None:
    """A second SIGTERM cuts the requests; the models stay all the same."""
    server = modelswap_server(stub_config("a", extra=KEEP))
    before = server.stub_state("a")["pid"]
    with slow_stream(server, "a", events=100_000, delay_ms=20):
        assert signalled(server, signal.SIGTERM, signal.SIGTERM) == 0
    server.start()
    assert server.stub_state("a")["pid"] == before


def test_a_model_that_is_loading_is_kept(modelswap_server: StartServer, tmp_path: Path) -> None:
    """A model that is not ready yet: the next start waits for it instead of starting it anew."""
    journal = tmp_path / "starts"
    flags = ("--journal", str(journal), "--ready-after", "4")
    server = modelswap_server(
        stub_config("a", extra=f"hooks: {{on_startup: {{preload: [a]}}}}\n{KEEP}", flags=flags)
    )
    wait_until(lambda: server.running() == {"a": "starting"})
    assert signalled(server, signal.SIGTERM) == 0
    server.start()
    wait_until(lambda: server.running() == {"a": "ready"})
    assert len(journal.read_text().splitlines()) == 1


# systemd


def state_of(pid: int) -> str:
    """Return the kernel's letter for a process's state; `T` is stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@contextmanager
def manager(address: str) -> Iterator[socket.socket]:
    """The socket on which systemd listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(address.replace("@", "\0", 1) if address.startswith("@") else address)
        yield listening
        listening.shutdown(socket.SHUT_RDWR)


class NotifyReader(threading.Thread):
    """Reads all messages, as systemd does, until the socket is closed."""

    def __init__(self, listening: socket.socket) -> None:
        super().__init__(daemon=True)
        self._listening = listening
        self.fields: list[str] = []
        self.start()

    def run(self) -> None:
        with suppress(OSError):
            while True:
                self.fields += self._listening.recv(4096).decode().split("\n")

    def next(self, field: str) -> None:
        """Wait for a field that has not come yet."""
        count = self.fields.count(field)
        wait_until(lambda: self.fields.count(field) > count, what=field)


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_systemd_is_notified(modelswap_server: StartServer, tmp_path: Path, kind: str) -> None:
    """READY when requests are accepted, RELOADING around a reload, STOPPING, and watchdog messages."""
    address = str(tmp_path / "notify") if kind == "path" else f"@modelswap-test-{os.getpid()}"
    with manager(address) as listening:
        notify = NotifyReader(listening)
        env = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "200000"}
        server = modelswap_server(stub_config("a"), start=False, env=env)
        process = server.spawn()
        wait_until(lambda: "READY=1" in notify.fields)
        assert f"MAINPID={process.pid}" in notify.fields
        assert server.ask("GET", "/health").status == 200
        for _ in range(3):
            notify.next("WATCHDOG=1")
        assert server.chat("a").status == 200
        model = next(iter(server.model_pids()))
        assert b"NOTIFY_SOCKET" not in Path(f"/proc/{model}/environ").read_bytes()
        notify.fields.clear()
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: "READY=1" in notify.fields)
        assert notify.fields.index("RELOADING=1") < notify.fields.index("READY=1")
        assert any(field.startswith("MONOTONIC_USEC=") for field in notify.fields)
        process.terminate()
        wait_until(lambda: "STOPPING=1" in notify.fields)
        assert process.wait(30) == 0


def test_a_hung_loop_sends_no_watchdog_messages(
    modelswap_server: StartServer, tmp_path: Path
) -> None:
    """The watchdog messages come from the loop: when it hangs, they stop."""
    address = str(tmp_path / "notify")
    with manager(address) as listening:
        env = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "100000"}
        server = modelswap_server(stub_config("a"), start=False, env=env)
        process = server.spawn()
        notify = NotifyReader(listening)
        wait_until(lambda: "READY=1" in notify.fields)
        process.send_signal(signal.SIGSTOP)
        try:
            wait_until(lambda: state_of(process.pid) == "T")
            time.sleep(0.5)  # messages on their way have come
            notify.fields.clear()
            time.sleep(0.5)
            assert not notify.fields
        finally:
            process.send_signal(signal.SIGCONT)
        notify.next("WATCHDOG=1")


@pytest.mark.parametrize(
    "env",
    [
        {"NOTIFY_SOCKET": "/nowhere/notify", "WATCHDOG_USEC": "200000"},
        {"NOTIFY_SOCKET": "", "WATCHDOG_USEC": ""},
        {"NOTIFY_SOCKET": "x" * 300, "WATCHDOG_USEC": "soon", "WATCHDOG_PID": "1"},
    ],
)
def test_an_unreachable_service_manager(modelswap_server: StartServer, env: dict[str, str]) -> None:
    """The program runs without it."""
    server = modelswap_server(stub_config("a"), env=env)
    assert server.chat("a").status == 200
    assert server.stop() == 0
