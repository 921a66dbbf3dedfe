"""A requested stop: running requests finish, no wait is unbounded, no process is left."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from support.load_clients import REFUSED, one_request, rest_of, slow_stream
from support.server import stub_config, wait_until

if TYPE_CHECKING:
    from support.running import StartServer
    from support.server import Modelswap

KILLED = 3


def ask_to_stop(server: Modelswap, number: int = signal.SIGTERM) -> None:
    """Send the signal and return when the program has taken note of it."""
    assert server.process is not None
    server.process.send_signal(number)
    wait_until(lambda: "stopping: finishing" in server.log(), what="it has taken note")


def exit_code(server: Modelswap, seconds: float = 30) -> int:
    assert server.process is not None
    return server.process.wait(seconds)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_running_requests_finish(modelswap_server: StartServer, number: int) -> None:
    """A stream in progress reaches its end; no new connection is accepted; the exit code is 0."""
    server = modelswap_server(stub_config("a"))
    with slow_stream(server, "a", events=40, delay_ms=25) as connection:
        ask_to_stop(server, number)
        assert one_request(server, "a", 5) == REFUSED
        assert b"data: [DONE]" in rest_of(connection)
    assert exit_code(server) == 0
    assert not server.processes()


def test_endless_stream_is_cut_after_its_time(modelswap_server: StartServer) -> None:
    """A stream that does not end within `shutdownTimeout` is visibly broken off, without a kill."""
    server = modelswap_server(stub_config("a", extra="shutdownTimeout: 0.5"))
    with slow_stream(server, "a", events=100_000, delay_ms=20) as connection:
        ask_to_stop(server)
        rest = rest_of(connection)
    assert b"[DONE]" not in rest
    assert not rest.endswith(b"0\r\n\r\n")
    assert exit_code(server) == 0


def test_websocket_does_not_delay_the_stop(modelswap_server: StartServer) -> None:
    """An open tunnel is cut when the time is over."""
    server = modelswap_server(stub_config("a", extra="shutdownTimeout: 0.5"))
    url = f"ws://127.0.0.1:{server.port}/upstream/a/ws"
    with connect(url, open_timeout=20) as websocket:
        websocket.send("hello")
        assert websocket.recv(5) is not None
        ask_to_stop(server)
        with pytest.raises(ConnectionClosed):
            websocket.recv(15)
    assert exit_code(server) == 0


@pytest.mark.parametrize("path", ["/api/events", "/logs/stream"])
def test_watchers_do_not_delay_the_stop(modelswap_server: StartServer, path: str) -> None:
    """Event and log streams of the interface end by themselves."""
    server = modelswap_server(stub_config("a"))
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as watcher:
        watcher.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert watcher.recv(4096)
        ask_to_stop(server)
        rest_of(watcher)
    assert exit_code(server, 10) == 0


def test_waiting_requests_get_a_503(modelswap_server: StartServer) -> None:
    """A request that waits for a load gets a 503 at once, not at the end of the load."""
    server = modelswap_server(stub_config("a", flags=("--ready-after", "20")))
    endings: list[str] = []
    asking = threading.Thread(target=lambda: endings.append(one_request(server, "a", 30)))
    asking.start()
    wait_until(lambda: server.running() == {"a": "starting"}, what="the load has begun")
    ask_to_stop(server)
    asking.join(30)
    assert endings == ["503 error event"]
    assert exit_code(server, 10) == 0


def test_open_connections_are_answered_while_it_drains(modelswap_server: StartServer) -> None:
    """On a kept connection `/ready` is 503, `/health` is 200, and a model is a 503 that says why."""
    server = modelswap_server(stub_config("a"))
    asked = {"/ready": 503, "/health": 200, "/upstream/a/stub/state": 503}
    kept = {
        path: http.client.HTTPConnection("127.0.0.1", server.port, timeout=10) for path in asked
    }
    for connection in kept.values():
        connection.request("GET", "/ready")
        assert connection.getresponse().read() == b"OK"
    with slow_stream(server, "a", events=60, delay_ms=25) as stream:
        ask_to_stop(server)
        for path, connection in kept.items():
            connection.request("GET", path)
            reply = connection.getresponse()
            assert (path, reply.status) == (path, asked[path])
            assert reply.getheader("Connection") == "close"
            reply.read()
            connection.close()
        assert b"[DONE]" in rest_of(stream)
    assert exit_code(server) == 0


def test_engine_that_ignores_sigterm_is_killed_with_exit_code_3(
    modelswap_server: StartServer,
) -> None:
    """An engine that does not exit within `unloadTimeout` is killed: exit code 3, no process left."""
    server = modelswap_server(stub_config("a", extra="unloadTimeout: 1", flags=("--deaf",)))
    assert server.chat("a").status == 200
    assert server.stop(20) == KILLED
    assert not server.processes()


def test_earlier_kills_do_not_count(modelswap_server: StartServer) -> None:
    """An engine that was killed long before the stop does not change the exit code."""
    server = modelswap_server(stub_config("a", extra="unloadTimeout: 1", flags=("--deaf",)))
    assert server.chat("a").status == 200
    assert server.ask("POST", "/api/models/unload").status == 200
    assert server.stop(20) == 0


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_second_signal_stops_at_once(modelswap_server: StartServer, second: int) -> None:
    """A second signal ends running requests and kills running engines at once."""
    server = modelswap_server(
        stub_config("a", extra="shutdownTimeout: 300\nunloadTimeout: 300", flags=("--deaf",))
    )
    with slow_stream(server, "a", events=100_000, delay_ms=20) as connection:
        ask_to_stop(server)
        assert server.process is not None
        server.process.send_signal(second)
        assert b"[DONE]" not in rest_of(connection)
    assert exit_code(server, 20) == KILLED
    assert not server.processes()


def test_client_that_never_reads_does_not_delay_the_stop(modelswap_server: StartServer) -> None:
    """A stream that backs up because its client does not read is cut when the time is over."""
    server = modelswap_server(stub_config("a", extra="shutdownTimeout: 0.5"))
    with slow_stream(server, "a", events=100_000, delay_ms=0):
        time.sleep(0.3)
        ask_to_stop(server)
        assert exit_code(server, 20) == 0


def test_stop_with_a_killed_keeper(modelswap_server: StartServer) -> None:
    """A keeper that was killed just before does not delay the stop."""
    server = modelswap_server(stub_config("a"))
    assert server.chat("a").status == 200
    os.kill(server.keeper_pid(), signal.SIGKILL)
    assert server.stop(30) == 0
    left = [command for command in server.processes().values() if "/keeper/sweep.py" not in command]
    assert left == [], "what cleans up behind the keeper may look once more"
    wait_until(lambda: not server.processes(), what="it ends, too")


def test_upload_in_progress_is_cut(modelswap_server: StartServer) -> None:
    """An endless request body is cut when the time is over, too."""
    server = modelswap_server(stub_config("a", extra="shutdownTimeout: 0.5"))
    head = {"model": "a", "messages": []}
    body = json.dumps(head).encode()
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        client.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (len(body) + 100)
        )
        client.sendall(body)
        time.sleep(0.2)
        ask_to_stop(server)
        assert exit_code(server, 20) == 0
