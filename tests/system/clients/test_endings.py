"""Each request ends exactly once, whatever happens to the engine or the client."""

from __future__ import annotations

import os
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.server import streaming, stub_command, stub_config, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.running import StartServer
    from support.server import Modelswap
    from system.clients.conftest import Connect, StartGated

    Script = Callable[[socket.socket], None]
    StartRude = Callable[[Script], "MisbehavingServer"]

HELLO = {"model": "a", "messages": []}


def streamed(server: Modelswap, **fields: object) -> socket.socket:
    """Ask for a stream; the connection, with the first event read."""
    return streaming(server.port, {**HELLO, **fields})


def rest_of(sock: socket.socket) -> bytes:
    """Return what else comes until the connection ends, in whatever way."""
    got = b""
    with sock:
        try:
            while piece := sock.recv(65536):
                got += piece
                if got.endswith(b"\r\n0\r\n\r\n"):
                    break
        except ConnectionError:
            pass
    return got


def is_whole(stream: bytes) -> bool:
    return b"[DONE]" in stream and stream.endswith(b"0\r\n\r\n")


# Death


def has_ended(pid: int) -> bool:
    """Whether the kernel is done with a process, though its parent may not have heard of it yet.

    With all its threads: the first may be gone while another still holds the sockets open.
    """
    try:
        states = [stat.read_text() for stat in Path(f"/proc/{pid}/task").glob("*/stat")]
    except OSError:
        return False  # one went while we looked
    return all(state.rpartition(")")[2].split()[0] in {"Z", "X"} for state in states)


FORM = {"Content-Type": "multipart/form-data; boundary=x"}
UPLOAD = (
    b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\na\r\n'
    b'--x\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\ndata\r\n--x--\r\n'
)


@pytest.mark.parametrize("kind", ["chat", "upload"])
def test_a_request_after_an_idle_engine_was_killed_succeeds(
    modelswap_server: StartServer, kind: str
) -> None:
    """A request right after the idle engine was killed is served by a new one, time after time."""
    server = modelswap_server(stub_config("a"))
    for _ in range(3):
        assert server.chat("a").status == 200
        (pid,) = server.model_pids()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda pid=pid: has_ended(pid), what="it has ended")
        if kind == "chat":
            answer = server.chat("a")
        else:
            answer = server.ask("POST", "/v1/audio/transcriptions", UPLOAD, FORM)
        assert answer.status == 200, answer


def test_each_request_waiting_for_a_failed_load_gets_one_503(gated: StartGated) -> None:
    """An engine that exits while it loads: each of its waiting requests gets one 503."""
    model = gated()
    with ThreadPoolExecutor(20) as pool:
        answers = [pool.submit(model.server.chat, "a") for _ in range(20)]
        model.wait_for_requests(20)
        model.fail()
        found = [answer.result(20) for answer in answers]
    assert {answer.status for answer in found} == {503}
    assert {answer.json()["error"]["code"] for answer in found} == {"model_load_failed"}
    assert all(int(answer.headers["retry-after"]) > 0 for answer in found)


def test_an_engine_killed_in_mid_stream_is_reported_and_replaced(
    modelswap_server: StartServer,
) -> None:
    """The stream ends with an error event and an abort; the next request has a new engine."""
    server = modelswap_server(stub_config("a"))
    sock = streamed(server, n=1000, delay_ms=20)
    (pid,) = server.model_pids()
    os.kill(pid, signal.SIGKILL)
    rest = rest_of(sock)
    assert b'data: {"src":"llama-swap","error":' in rest
    assert not rest.endswith(b"0\r\n\r\n")
    assert server.chat("a").status == 200


# Hangs


def hanging(**keys: object) -> str:
    extra = "".join(f"    {name}: {value}\n" for name, value in keys.items())
    return (
        f"models:\n  a:\n    cmd: {stub_command('a')}\n{extra}"
        f"  b:\n    cmd: {stub_command('b')}\n"
        "groups:\n  both:\n    swap: false\n    members: [a, b]\n"
    )


def test_an_engine_that_does_not_answer_is_a_504(modelswap_server: StartServer) -> None:
    """After `responseHeader` the client gets 504; others are served meanwhile, and the engine stays."""
    server = modelswap_server(hanging(timeouts="{responseHeader: 1}"))
    assert server.chat("a").status == 200
    before = server.stub_state("a")["pid"]
    with ThreadPoolExecutor(1) as pool:
        stuck = pool.submit(lambda: server.chat("a", fault="hang"))
        assert server.chat("b").status == 200
        answer = stuck.result(20)
    assert (answer.status, answer.json()["error"]["code"]) == (504, "gateway_timeout")
    wait_until(lambda: "<a> is stuck" in server.log(), what="the log says so")
    assert server.stub_state("a")["pid"] == before


def test_an_engine_that_does_not_answer_is_restarted(modelswap_server: StartServer) -> None:
    """With `restartOnStall` the next request is answered by a new process."""
    server = modelswap_server(hanging(timeouts="{responseHeader: 1}", restartOnStall="true"))
    assert server.chat("a").status == 200
    before = server.stub_state("a")["pid"]
    assert server.chat("a", fault="hang").status == 504
    assert server.chat("a").status == 200
    assert server.stub_state("a")["pid"] != before


@pytest.mark.parametrize("restart", ["true", "false"])
def test_a_stalled_stream_is_broken_off(modelswap_server: StartServer, restart: str) -> None:
    """After `stallTimeout` the client reads the reason and sees that the stream is broken."""
    server = modelswap_server(hanging(stallTimeout=1, restartOnStall=restart))
    sock = streamed(server, n=5, delay_ms=60_000)
    before = server.model_pids()
    rest = rest_of(sock)
    assert b"gateway_timeout" in rest
    assert not rest.endswith(b"0\r\n\r\n")
    assert server.chat("a").status == 200
    assert (server.model_pids() == before) == (restart == "false")


# Orders


def test_an_unload_refuses_waiting_requests(gated: StartGated) -> None:
    """A request that waits for a model that is unloaded gets a 503 that says so."""
    model = gated()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(model.server.chat, "a")
        model.wait_for_requests(1)
        assert model.server.ask("POST", "/api/models/unload/a").status == 200
        found = answer.result(20)
    assert (found.status, found.json()["error"]["code"]) == (503, "model_unloaded")
    assert "retry-after" in found.headers
    assert found.headers["x-should-retry"] == "true"


def test_an_unload_lets_a_stream_end(modelswap_server: StartServer) -> None:
    """A stream that is shorter than the grace period arrives whole; then the engine exits."""
    server = modelswap_server(stub_config("a"))
    sock = streamed(server, n=30, delay_ms=20)
    with ThreadPoolExecutor(1) as pool:
        unloaded = pool.submit(server.ask, "POST", "/api/models/unload/a")
        assert is_whole(rest_of(sock))
        assert unloaded.result(20).status == 200
    assert server.running() == {}


@pytest.mark.parametrize(("query", "grace"), [("?force=true", 30), ("", 1)])
def test_an_unload_ends_what_takes_too_long(
    modelswap_server: StartServer, query: str, grace: int
) -> None:
    """At once with `force`, else after `unloadTimeout`, the stream is broken off with the reason."""
    server = modelswap_server(stub_config("a", extra=f"unloadTimeout: {grace}"))
    sock = streamed(server, n=100_000, delay_ms=20)
    assert server.ask("POST", f"/api/models/unload/a{query}").status == 200
    rest = rest_of(sock)
    assert b'"code":"model_unloaded"' in rest
    assert not is_whole(rest)
    assert server.running() == {}


def test_a_forced_unload_refuses_requests_without_a_response(modelswap_server: StartServer) -> None:
    """A running request without a response yet gets a 503 that says so, with Retry-After."""
    server = modelswap_server(stub_config("a"))
    assert server.chat("a").status == 200
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(lambda: server.chat("a", fault="hang"))
        wait_until(lambda: server.stub_state("a")["open"] == 1, what="it runs")
        assert server.ask("POST", "/api/models/unload/a?force=true").status == 200
        found = answer.result(20)
    assert (found.status, found.json()["error"]["code"]) == (503, "model_unloaded")
    assert "retry-after" in found.headers
    assert found.headers["x-should-retry"] == "true"


def test_a_reload_does_not_touch_a_stream(modelswap_server: StartServer) -> None:
    """A stream of an unchanged model runs on while another model changes."""
    server = modelswap_server(stub_config("a", "b"))
    sock = streamed(server, n=50, delay_ms=20)
    before = server.model_pids()
    server.write_config(server.config_text.replace("--name b", "--name other"))
    assert server.ask("POST", "/api/config/reload").status == 200
    assert is_whole(rest_of(sock))
    assert server.model_pids() == before


def test_a_reload_lets_the_changed_model_finish(modelswap_server: StartServer) -> None:
    """A changed model finishes its stream; the next request has the new one."""
    server = modelswap_server(stub_config("a"))
    sock = streamed(server, n=50, delay_ms=20)
    server.write_config(server.config_text.replace("--name a", "--name changed"))
    assert server.ask("POST", "/api/config/reload").status == 200
    assert is_whole(rest_of(sock))
    assert server.chat("a").json()["model"] == "changed"


# Clients that leave, and crowds


def test_a_client_that_leaves_an_open_stream_is_not_sent_on(
    gated: StartGated, connect: Connect
) -> None:
    """The request of a client that disconnects after keep-alives never reaches the engine."""
    model = gated()
    client = connect(model)
    client.see_keep_alives()
    client.close()
    wait_until(lambda: model.in_flight() == 0, what="no request is in flight")
    model.open()
    assert model.server.chat("a").status == 200
    assert model.server.stub_state("a")["served"] == 1


def test_a_cancelled_request_is_not_sent_on(gated: StartGated) -> None:
    """A request that is cancelled while it waits ends, and never reaches the engine."""
    model = gated()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(model.server.chat, "a")
        model.wait_for_requests(1)
        (entry,) = model.server.ask("GET", "/api/inflight").json()["requests"]
        assert model.server.ask("POST", f"/api/inflight/{entry['id']}/cancel").status == 200
        assert answer.result(20).status == 499
    model.open()
    assert model.server.chat("a").status == 200
    assert model.server.stub_state("a")["served"] == 1


def test_a_full_queue_is_a_503(gated: StartGated) -> None:
    """One more than `limits.queue` waiting requests: 503 with Retry-After; those before are served."""
    model = gated("limits: {queue: 2}")
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(model.server.chat, "a") for _ in range(2)]
        model.wait_for_requests(2)
        refused = model.server.chat("a")
        model.open()
        assert [answer.result(20).status for answer in waiting] == [200, 200]
    assert (refused.status, refused.json()["error"]["code"]) == (503, "queue_full")
    assert int(refused.headers["retry-after"]) > 0
    assert refused.headers["x-should-retry"] == "true"


def test_over_the_concurrency_limit(modelswap_server: StartServer) -> None:
    """More than `concurrencyLimit` running requests: 429 in JSON, and the running one goes on."""
    config = f"models:\n  a:\n    cmd: {stub_command('a')}\n    concurrencyLimit: 1\n"
    server = modelswap_server(config)
    sock = streamed(server, n=40, delay_ms=20)
    refused = server.chat("a")
    assert (refused.status, refused.headers["retry-after"]) == (429, "1")
    assert refused.headers["x-should-retry"] == "true"
    assert refused.json()["error"]["code"] == "concurrency_limit"
    assert is_whole(rest_of(sock))
    assert server.chat("a").status == 200


# Upstreams with manners of their own


class MisbehavingServer:
    """Answers each connection by a script; counts its requests."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with sock:
                try:
                    self._script(sock)
                except OSError:
                    continue

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(30)

    @property
    def config(self) -> str:
        return (
            "models:\n  a:\n    cmd: sleep 600\n    checkEndpoint: none\n"
            f"    proxy: http://127.0.0.1:{self.port}\n"
        )


@pytest.fixture
def misbehaving() -> Iterator[StartRude]:
    servers: list[MisbehavingServer] = []

    def begin(script: Script) -> MisbehavingServer:
        servers.append(MisbehavingServer(script))
        return servers[-1]

    yield begin
    for server in servers:
        server.close()


OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


def read_head(sock: socket.socket) -> bytes:
    got = b""
    while b"\r\n\r\n" not in got:
        piece = sock.recv(65536)
        if not piece:
            raise ConnectionError
        got += piece
    return got


def read_request(sock: socket.socket) -> None:
    head, _, body = read_head(sock).partition(b"\r\n\r\n")
    (length,) = [line for line in head.lower().split(b"\r\n") if b"content-length" in line]
    missing = int(length.partition(b":")[2]) - len(body)
    while missing > 0:
        missing -= len(sock.recv(missing))


def test_an_upstream_that_closes_kept_connections(
    modelswap_server: StartServer, misbehaving: StartRude
) -> None:
    """An upstream that closes silently after each response loses no request and gets none twice."""
    ran: list[int] = []

    def once(sock: socket.socket) -> None:
        read_request(sock)
        ran.append(1)
        sock.sendall(OK)

    server = modelswap_server(misbehaving(once).config)
    assert [server.ask("POST", "/v1/embeddings", HELLO).status for _ in range(40)] == [200] * 40
    assert len(ran) == 40


def test_an_upstream_that_answers_before_the_body_is_there(
    modelswap_server: StartServer, misbehaving: StartRude
) -> None:
    """An early refusal of a large body reaches the client unchanged."""

    def refuse(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(
            b"HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\nConnection: close\r\n\r\nlarge"
        )
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(65536):
            continue

    server = modelswap_server(misbehaving(refuse).config)
    answer = server.ask("POST", "/v1/embeddings", {**HELLO, "x": "y" * (8 << 20)})
    assert (answer.status, answer.body) == (413, b"large")


@pytest.mark.parametrize("status", [429, 500, 503])
def test_the_engines_own_errors_pass_unchanged_and_run_once(
    modelswap_server: StartServer,
    misbehaving: StartRude,
    status: int,
) -> None:
    """Status, headers and body of an engine's error arrive unchanged; the request is not sent again."""
    ran: list[int] = []

    def fail(sock: socket.socket) -> None:
        read_request(sock)
        ran.append(1)
        sock.sendall(
            b"HTTP/1.1 %d Own\r\nContent-Type: text/x-own\r\nRetry-After: 7\r\n"
            b"Content-Length: 3\r\n\r\nown" % status
        )

    server = modelswap_server(misbehaving(fail).config)
    answer = server.ask("POST", "/v1/embeddings", HELLO)
    assert (answer.status, answer.body) == (status, b"own")
    assert (answer.headers["content-type"], answer.headers["retry-after"]) == ("text/x-own", "7")
    assert len(ran) == 1


def test_a_request_that_may_have_run_is_not_sent_again(
    modelswap_server: StartServer, misbehaving: StartRude
) -> None:
    """An upstream that reads a request and closes gives 502, and got the request once."""
    ran: list[int] = []

    def hang_up(sock: socket.socket) -> None:
        read_request(sock)
        ran.append(1)

    server = modelswap_server(misbehaving(hang_up).config)
    answer = server.ask("POST", "/v1/embeddings", HELLO)
    assert (answer.status, answer.json()["error"]["code"]) == (502, "bad_gateway")
    assert len(ran) == 1
