"""SIGUSR2: a new front takes over address, models and waiting requests; no request is lost."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest
import trustme

from support.load_clients import CUT, LoadClients, OpenStream, one_request, rest_of, slow_stream
from support.server import parent_of, stub_config, wait_until
from system.faults.test_restart import NotifyReader, manager

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.running import StartServer
    from support.server import Modelswap


def fronts(server: Modelswap) -> set[int]:
    """The processes that serve, or still finish."""
    return {pid for pid, line in server.processes().items() if "modelswap serve" in line}


def handed_over(server: Modelswap) -> list[int]:
    """The pids that have taken over so far."""
    return [int(pid) for pid in re.findall(r"handed over to pid (\d+)", server.log())]


def hand_over(server: Modelswap, pid: int | None = None) -> int:
    """Ask a front to hand over; the new one's pid."""
    before = len(handed_over(server))
    os.kill(server.pid if pid is None else pid, signal.SIGUSR2)
    wait_until(lambda: len(handed_over(server)) > before, 30, what="it has handed over")
    return handed_over(server)[-1]


@pytest.fixture
def start(modelswap_server: StartServer) -> Iterator[StartServer]:
    """Servers of which the last front is stopped too."""
    started: list[Modelswap] = []

    def begin(
        config_text: str, *flags: str, start: bool = True, env: dict[str, str] | None = None
    ) -> Modelswap:
        server = modelswap_server(config_text, *flags, start=start, env=env)
        started.append(server)
        return server

    yield begin
    for server in started:
        for pid in fronts(server):
            os.kill(pid, signal.SIGTERM)
        wait_until(lambda server=server: not fronts(server), 40, what="every front has ended")


class KeepAliveClients:
    """Clients that keep their connection as long as allowed, and send requests without pause."""

    def __init__(self, server: Modelswap, paths: tuple[str, ...], clients: int = 4) -> None:
        self._port = server.port
        self._paths = paths
        self._over = threading.Event()
        self._lock = threading.Lock()
        self.endings: Counter[str] = Counter()
        self.connections = 0
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(40)

    def _ask(self) -> None:
        number = 0
        while not self._over.is_set():
            wire = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
            with self._lock:
                self.connections += 1
            try:
                while not self._over.is_set():
                    path = self._paths[number % len(self._paths)]
                    number += 1
                    body = json.dumps({"model": "a", "messages": []}) if "chat" in path else None
                    wire.request("POST" if body else "GET", path, body)
                    reply = wire.getresponse()
                    reply.read()
                    with self._lock:
                        self.endings[f"{path} {reply.status}"] += 1
                    if reply.getheader("Connection") == "close":
                        break
            except (OSError, http.client.HTTPException) as error:
                with self._lock:
                    self.endings[repr(error)] += 1
            finally:
                wire.close()


class Asked(threading.Thread):
    """One request on a thread."""

    def __init__(self, server: Modelswap, model: str) -> None:
        super().__init__()
        self._server, self._model = server, model
        self.ending = ""
        self.start()

    def run(self) -> None:
        self.ending = one_request(self._server, self._model, 60)


def test_no_request_is_lost(start: StartServer, tmp_path: Path) -> None:
    """Five times over: new and kept connections, a long stream and a request that waits for a swap."""
    journal = tmp_path / "starts"
    server = start(stub_config("a", "b", flags=("--journal", str(journal))))
    pid, model = server.pid, server.stub_state("a")["pid"]
    paths = ("/v1/chat/completions", "/v1/models", "/v1/chat/completions", "/health", "/running")
    with (
        LoadClients(server, ["a"], clients=3) as load_clients,
        KeepAliveClients(server, paths) as keeping_clients,
    ):
        for _ in range(5):
            asked = load_clients.endings.total()
            with OpenStream(server, "a") as stream:
                pid = hand_over(server, pid)
                stream.read(20)
                assert b"data: [DONE]" in stream.finish()
            wait_until(lambda asked=asked: load_clients.endings.total() > asked + 20, 30)
    assert set(load_clients.endings) == {"200"}, load_clients.endings
    assert {key.rpartition(" ")[2] for key in keeping_clients.endings} == {"200"}, (
        keeping_clients.endings
    )
    assert keeping_clients.connections >= 20
    assert server.stub_state("a")["pid"] == model
    assert len(journal.read_text().splitlines()) == 1
    wait_until(lambda: fronts(server) == {pid}, 40, what="the old fronts have ended")


def test_a_request_that_waits_for_a_swap(start: StartServer) -> None:
    """A request that waited in the old front for a swap that another stream blocks is served."""
    server = start(stub_config("a", "b"))
    model = server.stub_state("a")["pid"]
    with OpenStream(server, "a") as stream:
        waiting = [Asked(server, "b") for _ in range(3)]
        wait_until(lambda: queued(server, "b") == 3)
        pid = hand_over(server)
        stream.read(30)
        assert model in server.processes()
        assert b"data: [DONE]" in stream.finish()
    for one in waiting:
        one.join(60)
    assert [one.ending for one in waiting] == ["200"] * 3
    assert server.running() == {"b": "ready"}
    wait_until(lambda: fronts(server) == {pid}, 40)


def queued(server: Modelswap, model: str) -> int:
    """How many requests run or wait."""
    rows: list[dict[str, object]] = []
    for value in server.ask("GET", "/api/inflight").json().values():
        rows += value if isinstance(value, list) else []
    return sum(row.get("model") == model for row in rows)


def test_models_in_use_are_not_evicted(start: StartServer) -> None:
    """The new front counts the streams of the old one: another model waits for their end."""
    server = start(stub_config("a", "b"))
    with OpenStream(server, "a") as stream:
        hand_over(server)
        waiting = Asked(server, "b")
        wait_until(lambda: queued(server, "b") == 1)
        stream.read(30)
        assert b"data: [DONE]" in stream.finish()
    waiting.join(30)
    assert waiting.ending == "200"


def test_a_front_that_is_killed_while_it_finishes(start: StartServer) -> None:
    """Its streams break with it, and its leases end, so that the other requests go on."""
    server = start(stub_config("a", "b"))
    with slow_stream(server, "a", events=100_000, delay_ms=20):
        pid = hand_over(server)
        waiting = Asked(server, "b")
        wait_until(lambda: pid in fronts(server))
        server.kill()
        waiting.join(30)
    assert waiting.ending == "200"


def test_while_a_model_loads(start: StartServer, tmp_path: Path) -> None:
    """A server that is not ready yet is taken over, not started anew; waiting requests are served."""
    journal = tmp_path / "starts"
    server = start(stub_config("a", flags=("--journal", str(journal), "--ready-after", "2.5")))
    waiting = [Asked(server, "a") for _ in range(3)]
    wait_until(lambda: server.running() == {"a": "starting"})
    pid = hand_over(server)
    for one in waiting:
        one.join(30)
    assert [one.ending for one in waiting] == ["200"] * 3
    assert len(journal.read_text().splitlines()) == 1
    wait_until(lambda: fronts(server) == {pid}, 40)


def test_waiting_under_a_limit(start: StartServer) -> None:
    """Requests that waited at a concurrency limit wait on, instead of being refused."""
    config = stub_config("a", flags=("--ready-after", "2"))
    server = start(config + "    concurrencyLimit: 1\n")
    waiting = [Asked(server, "a") for _ in range(4)]
    wait_until(lambda: server.running() == {"a": "starting"})
    hand_over(server)
    for one in waiting:
        one.join(30)
    assert [one.ending for one in waiting] == ["200"] * 4


def test_several_at_once(start: StartServer) -> None:
    """A front that has itself been handed over to hands over, while the first still streams."""
    server = start(stub_config("a", "b"))
    model = server.stub_state("a")["pid"]
    with OpenStream(server, "a") as stream:
        waiting = Asked(server, "b")
        second = hand_over(server)
        with OpenStream(server, "a") as other:
            third = hand_over(server, second)
            assert fronts(server) == {server.pid, second, third}
            other.read(20)
            assert b"data: [DONE]" in other.finish()
        stream.read(30)
        assert model in server.processes()
        assert b"data: [DONE]" in stream.finish()
    waiting.join(30)
    assert waiting.ending == "200"
    wait_until(lambda: fronts(server) == {third}, 40, what="the old fronts have ended")


def test_two_signals_in_quick_succession(start: StartServer) -> None:
    """Two signals before the new front is up are one hand-over; later ones go to the new front."""
    server = start(stub_config("a"))
    with OpenStream(server, "a") as stream:
        server.process.send_signal(signal.SIGUSR2)  # type: ignore[union-attr]
        first = hand_over(server)
        second = hand_over(server)  # the old front passes it on
        assert first != second
        stream.read(20)
        assert b"data: [DONE]" in stream.finish()
    wait_until(lambda: fronts(server) == {second}, 40)
    assert server.chat("a").status == 200


def test_the_time_that_a_request_asked_for(start: StartServer) -> None:
    """The new front keeps the model as long as the old one would have, and what ends there counts here."""
    server = start(stub_config("a", extra="requestTTL: {min: 0}\n"))

    def minutes_left() -> float:
        (row,) = server.ask("GET", "/running").json()["running"]
        left = datetime.fromisoformat(row["expires_at"]) - datetime.now(UTC)
        return left / timedelta(minutes=1)

    assert server.chat("a", keep_alive="20m").status == 200
    front = hand_over(server)
    assert 18 < minutes_left() <= 20
    with OpenStream(server, "a", keep_alive="40m") as stream:
        hand_over(server, front)
        stream.finish()
    assert 38 < minutes_left() <= 40
    assert server.chat("a", keep_alive=0).status == 200
    wait_until(lambda: not server.running())


# What goes wrong


def test_an_invalid_configuration(start: StartServer) -> None:
    """The old front goes on and says why."""
    server = start(stub_config("a"))
    model = server.stub_state("a")["pid"]
    server.write_config("models: [\n")
    os.kill(server.pid, signal.SIGUSR2)
    wait_until(lambda: "not handed over" in server.log())
    assert "not valid YAML" in server.log()
    assert server.stub_state("a")["pid"] == model
    assert fronts(server) == {server.pid}


def test_a_new_front_that_exits_at_once(start: StartServer) -> None:
    """Killed before it has taken over anything: the old front goes on."""
    server = start(stub_config("a"))
    model = server.stub_state("a")["pid"]
    with LoadClients(server, ["a"], clients=2) as load_clients:
        os.kill(server.pid, signal.SIGUSR2)
        new = wait_until(lambda: fronts(server) - {server.pid})
        os.kill(next(iter(new)), signal.SIGKILL)
        wait_until(lambda: "not handed over" in server.log())
        wait_until(lambda: load_clients.endings.total() > 30)
    assert set(load_clients.endings) == {"200"}
    assert server.stub_state("a")["pid"] == model


def test_a_new_front_that_cannot_take_the_models(start: StartServer) -> None:
    """It fails after the old front has handed over: the old front takes everything back."""
    server = start(stub_config("a", "b"))
    model = server.stub_state("a")["pid"]
    with OpenStream(server, "a") as stream:
        waiting = Asked(server, "b")
        lock = server.state_dir / "front.lock"
        lock.rename(lock.with_suffix(".real"))
        lock.mkdir()  # the old front has its lock; nobody can take it anew
        with LoadClients(server, ["a"], clients=2) as load_clients:
            os.kill(server.pid, signal.SIGUSR2)
            wait_until(lambda: "cannot be locked" in server.log(), 40)
            lock.rmdir()
            lock.with_suffix(".real").rename(lock)
            wait_until(lambda: "not handed over" in server.log(), 40)
        assert set(load_clients.endings) <= {"200"}, load_clients.endings
        assert server.running()["a"] == "ready"
        stream.read(30)
        assert model in server.processes()  # not to be asked for: with the stream's end b is next
        assert b"data: [DONE]" in stream.finish(b"[DONE]")
    waiting.join(30)
    assert waiting.ending == "200"
    assert fronts(server) == {server.pid}


def test_during_a_shutdown(start: StartServer) -> None:
    """A program that is stopping does not hand over."""
    server = start(stub_config("a"))
    with slow_stream(server, "a", events=40, delay_ms=25) as stream:
        assert server.process is not None
        server.process.terminate()
        wait_until(lambda: "stopping: finishing" in server.log())
        server.process.send_signal(signal.SIGUSR2)
        wait_until(lambda: "hand-over: the program is stopping" in server.log())
        assert b"data: [DONE]" in rest_of(stream)
    assert server.process.wait(40) == 0
    assert not server.processes()


def test_a_stop_in_the_middle(start: StartServer) -> None:
    """SIGTERM right after SIGUSR2: the front that serves then stops, and no process is left."""
    server = start(stub_config("a"))
    assert server.chat("a").status == 200
    os.kill(server.pid, signal.SIGUSR2)
    os.kill(server.pid, signal.SIGTERM)
    wait_until(lambda: not server.processes(), 30, what="everything is gone")


def test_the_new_front_waits_for_the_old_one(start: StartServer) -> None:
    """A stop of the new front waits until the old front's streams finish, and stops the models then."""
    server = start(stub_config("a"))
    with OpenStream(server, "a") as stream:
        pid = hand_over(server)
        os.kill(pid, signal.SIGTERM)
        stream.read(30)
        assert b"data: [DONE]" in stream.finish()
    wait_until(lambda: not server.processes(), 40, what="everything is gone")


def test_the_time_for_that_is_bounded(start: StartServer) -> None:
    """After `shutdownTimeout` the old front's streams are cut too."""
    server = start(stub_config("a", extra="shutdownTimeout: 1"))
    with slow_stream(server, "a", events=100_000, delay_ms=20) as stream:
        os.kill(hand_over(server), signal.SIGTERM)
        assert b"[DONE]" not in rest_of(stream)
    wait_until(lambda: not server.processes(), 40, what="everything is gone")


def test_a_keeper_that_exits_later(start: StartServer) -> None:
    """The new front is not the keeper's parent; it starts another one all the same."""
    server = start(stub_config("a"))
    assert server.chat("a").status == 200
    pid = hand_over(server)
    wait_until(lambda: fronts(server) == {pid}, 40)
    os.kill(server.keeper_pid(), signal.SIGKILL)
    wait_until(lambda: one_request(server, "a", 20) == "200", 40, what="it recovers")


def test_a_new_front_that_exits_later(start: StartServer) -> None:
    """The old front ends with what it has; the next start adopts the models."""
    server = start(stub_config("a", extra="keeper: {grace: 60}"))
    model = server.stub_state("a")["pid"]
    with OpenStream(server, "a") as stream:
        os.kill(hand_over(server), signal.SIGKILL)
        stream.read(30)
        assert b"data: [DONE]" in stream.finish()
    assert server.process is not None
    assert server.process.wait(40) == 0
    server.start()
    assert server.stub_state("a")["pid"] == model


# Another configuration


def test_a_changed_model(start: StartServer) -> None:
    """Its old server finishes its running requests; later requests get the new one."""
    server = start(stub_config("a"))
    before = server.stub_state("a")["pid"]
    with OpenStream(server, "a") as stream:
        server.write_config(stub_config("a", flags=("--memory", "1")))
        hand_over(server)
        later = Asked(server, "a")
        stream.read(30)
        assert b"data: [DONE]" in stream.finish()
    later.join(30)
    assert later.ending == "200"
    assert server.stub_state("a")["pid"] != before
    wait_until(lambda: before not in server.processes())


def test_a_removed_model(start: StartServer) -> None:
    """Its server finishes its running requests, and stops."""
    server = start(stub_config("a"))
    before = server.stub_state("a")["pid"]
    with OpenStream(server, "a") as stream:
        server.write_config(stub_config("b"))
        hand_over(server)
        stream.read(30)
        assert b"data: [DONE]" in stream.finish()
    wait_until(lambda: before not in server.processes())
    assert one_request(server, "b", 20) == "200"
    assert server.ask("GET", "/running").json()["running"][0]["model"] == "b"


def test_an_unused_model_that_changed(start: StartServer) -> None:
    """A server without requests is stopped before the new front accepts."""
    server = start(stub_config("a"))
    before = server.stub_state("a")["pid"]
    server.write_config(stub_config("b"))
    hand_over(server)
    assert before not in server.processes()


# What it is part of


def test_with_tls(start: StartServer, tmp_path: Path) -> None:
    """The new front reads certificate and key itself; handshakes go on."""
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    key.write_bytes(issued.private_key_pem.bytes())
    cert.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    files = ("--tls-cert-file", str(cert), "--tls-key-file", str(key))
    server = start(stub_config("a"), *files, start=False)
    server.spawn()
    wait_until(lambda: "https://" in server.log())
    context = ssl.create_default_context()
    authority.configure_trust(context)
    kept = http.client.HTTPSConnection("localhost", server.port, timeout=20, context=context)
    body = json.dumps({"model": "a", "messages": []})
    for number in range(4):
        if number == 2:
            hand_over(server)
        kept.request("POST", "/v1/chat/completions", body)
        reply = kept.getresponse()
        reply.read()
        assert reply.status == 200
    kept.close()


def test_the_store_goes_on(start: StartServer, tmp_path: Path) -> None:
    """Both fronts write into one file for a while: every row is kept, each under its own number."""
    store = tmp_path / "activity.db"
    server = start(stub_config("a", extra=f"store: {{path: {store}}}"))
    with slow_stream(server, "a", events=40, delay_ms=30) as stream:
        assert one_request(server, "a", 10) == "200"
        pid = hand_over(server)
        for _ in range(5):
            assert one_request(server, "a", 10) == "200"
        assert b"data: [DONE]" in rest_of(stream)
    wait_until(lambda: fronts(server) == {pid}, 40)
    rows = server.ask("GET", "/api/metrics/activity").json()["data"]
    assert len(rows) == 7
    assert len({row["id"] for row in rows}) == 7


def test_systemd_follows(start: StartServer, tmp_path: Path) -> None:
    """`MAINPID` names the new front, which goes on sending watchdog messages."""
    address = str(tmp_path / "notify")
    with manager(address) as listening:
        env = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "200000"}
        server = start(stub_config("a"), env=env)
        notify = NotifyReader(listening)
        pid = hand_over(server)
        wait_until(lambda: f"MAINPID={pid}" in notify.fields)
        assert server.process is not None
        server.process.wait(40)
        notify.fields.clear()
        wait_until(lambda: "WATCHDOG=1" in notify.fields)
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: "STOPPING=1" in notify.fields)


def test_process_one_follows(start: StartServer, tmp_path: Path) -> None:
    """In a container process 1 stays, passes signals to the new front, and ends with its code."""
    if subprocess.run(["unshare", "--pid", "--fork", "true"], check=False, capture_output=True).returncode:  # fmt: skip
        pytest.skip("this system does not let us make a pid namespace")
    server = start(stub_config("a"), start=False)
    script = tmp_path / "run.sh"
    script.write_text('exec unshare --pid --fork --mount-proc --kill-child "$@"\n')
    command = [sys.executable, "-m", "modelswap", "serve", "--config", str(server.config_file)]
    command += ["--listen", f"127.0.0.1:{server.port}", "--state-dir", str(server.state_dir)]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3] / "src")}
    env["MODELSWAP_TEST_MARKER"] = server.marker
    with server.log_file.open("ab") as log:
        server.process = subprocess.Popen(
            ["sh", str(script), *command], stdout=log, stderr=log, env=env
        )
    wait_until(lambda: "1 model on http" in server.log(), 30, what="it is up")
    model = server.stub_state("a")["pid"]
    first = next(pid for pid in server.processes() if parent_of(pid) == server.pid)
    for number in (1, 2):
        os.kill(first, signal.SIGUSR2)
        wait_until(lambda number=number: len(handed_over(server)) == number, 40)
        assert server.stub_state("a")["pid"] == model
        wait_until(lambda: len(fronts(server) - {server.pid, first}) == 1, 40)
    os.kill(first, signal.SIGTERM)
    assert server.process.wait(40) == 0
    wait_until(lambda: not server.processes())


def test_only_intended_descriptors_and_variables_are_inherited(start: StartServer) -> None:
    """The new front and its models have no more descriptors or variables than the first ones."""
    server = start(stub_config("a", "b"))
    assert server.chat("a").status == 200
    before = descriptors(server.pid)
    pid = server.pid
    for _ in range(3):
        pid = hand_over(server, pid)
        wait_until(lambda pid=pid: fronts(server) == {pid}, 40)
    assert server.chat("b").status == 200
    model = next(iter(server.model_pids().keys() - {pid}))
    assert b"MODELSWAP_HANDOVER" not in Path(f"/proc/{model}/environ").read_bytes()
    assert not [target for target in descriptors(model) if str(server.port) in target]
    assert len(descriptors(pid)) <= len(before) + 4


def descriptors(pid: int) -> list[str]:
    found = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.append(str(entry.readlink()))
        except OSError:
            continue
    return found


# `modelswap reload`


def reload(server: Modelswap, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "modelswap", "reload", *flags],
        capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, **server.environment, "PYTHONPATH": str(Path(__file__).parents[3] / "src")},
    )  # fmt: skip


def test_reload_of_the_configuration(start: StartServer) -> None:
    """`modelswap reload` waits for the result: exit code 0, or 1 with every problem."""
    server = start(stub_config("a"))
    where = ("--state-dir", str(server.state_dir))
    server.write_config(stub_config("a", "b"))
    ended = reload(server, *where)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert f"pid {server.pid}" in ended.stdout
    assert one_request(server, "b", 20) == "200"
    server.write_config("models:\n  a: {ttl: soon}\n")
    ended = reload(server, *where)
    assert ended.returncode == 1
    assert "config.yaml:" in ended.stderr
    assert "stays" in ended.stderr.splitlines()[-1]
    assert one_request(server, "b", 20) == "200"


def test_reload_of_the_program(start: StartServer) -> None:
    """`--binary` waits until the new one has taken over; or says why it has not."""
    server = start(stub_config("a"))
    model = server.stub_state("a")["pid"]
    where = ("--state-dir", str(server.state_dir), "--binary")
    ended = reload(server, *where)
    assert (ended.returncode, ended.stderr) == (0, "")
    new = handed_over(server)[-1]
    assert f"pid {new} has taken over from pid {server.pid}" in ended.stdout
    assert server.stub_state("a")["pid"] == model
    server.write_config("models: [\n")
    ended = reload(server, *where)
    assert ended.returncode == 1
    assert "not valid YAML" in ended.stderr
    assert "the old program goes on" in ended.stderr
    assert server.stub_state("a")["pid"] == model


def test_which_server_to_reload(start: StartServer, tmp_path: Path) -> None:
    """The only running server, or the named one of several; no running server is an error."""
    env = {"XDG_STATE_HOME": str(tmp_path / "home")}
    servers = [start(stub_config("a"), start=False, env=env) for _ in range(2)]
    none_running = reload(servers[0])
    assert none_running.returncode == 1
    assert "no running server" in none_running.stderr
    for server in servers:
        server.flags = ("--state-dir", "")  # an option not given: each has its usual place
        server.start()
    several = reload(servers[0])
    assert several.returncode == 1
    assert all(str(server.port) in several.stderr for server in servers)
    for flags in (("--listen", f"127.0.0.1:{servers[1].port}"), ("--config", str(servers[1].config_file))):  # fmt: skip
        ended = reload(servers[0], *flags)
        assert (ended.returncode, ended.stderr) == (0, "")
        assert f"pid {servers[1].pid}" in ended.stdout
    missing = reload(servers[0], "--listen", "127.0.0.1:1")
    assert (missing.returncode, "127.0.0.1:1" in missing.stderr) == (1, True)
    assert reload(servers[0], "--state-dir", str(tmp_path / "nowhere")).returncode == 1


def test_reload_signals_no_process_of_another_container(start: StartServer) -> None:
    """A pid in a shared state directory may belong to another container: it is not signalled."""
    server = start(stub_config("a"))
    note = server.state_dir / "front.json"
    facts = json.loads(note.read_bytes())
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as bystander:
        note.write_text(json.dumps({**facts, "pid": bystander.pid, "namespace": "pid:[1]"}))
        done = subprocess.run(
            [sys.executable, "-m", "modelswap", "reload", "--state-dir", str(server.state_dir)],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert bystander.poll() is None
        bystander.communicate(b"\n")
    assert done.returncode == 1
    assert "in another container" in done.stderr


def test_a_connection_that_is_kept_is_told_to_close(start: StartServer) -> None:
    """A kept-alive connection gets one more response from the old front, with `Connection: close`."""
    server = start(stub_config("a"))
    wire = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    body = json.dumps({"model": "a", "messages": []})
    wire.request("POST", "/v1/chat/completions", body)
    assert wire.getresponse().read()
    hand_over(server)
    wire.request("POST", "/v1/chat/completions", body)
    reply = wire.getresponse()
    assert (reply.status, reply.getheader("Connection")) == (200, "close")
    reply.read()
    wire.close()
    assert server.process is not None
    assert server.process.wait(40) == 0
    assert one_request(server, "a", 20) != CUT


def test_changes_on_a_connection_that_is_kept(start: StartServer) -> None:
    """An unload that reaches the old front is carried out by the new one."""
    server = start(stub_config("a"))
    assert server.chat("a").status == 200
    wire = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    wire.request("GET", "/health")
    assert wire.getresponse().read()
    hand_over(server)
    wire.request("POST", "/api/models/unload")
    reply = wire.getresponse()
    reply.read()
    wire.close()
    assert reply.status == 200
    assert server.running() == {}
