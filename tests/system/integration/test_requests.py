"""Requests through the real program, to stubs that work and stubs that misbehave."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from support.server import stub_command, stub_config, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from support.running import StartServer
    from support.server import Modelswap


def kill_the_engine(server: Modelswap) -> int:
    """Kill the only engine that runs; its process id."""
    (pid,) = server.model_pids()
    os.kill(pid, signal.SIGKILL)
    return pid


def open_chat(server: Modelswap, **fields: object) -> socket.socket:
    """Send a chat request and keep the connection."""
    body = json.dumps({"messages": [], **fields}).encode()
    sock = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    sock.sendall(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    )
    return sock


def test_concurrent_cold_requests_start_one_server(
    modelswap_server: StartServer, tmp_path: Path
) -> None:
    """A hundred requests at once for a cold model: one start, a hundred answers."""
    journal = tmp_path / "starts"
    flags = ("--ready-after", "0.3", "--journal", str(journal))
    server = modelswap_server(stub_config("a", flags=flags))
    with ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(lambda _: server.chat("a"), range(100)))
    assert [answer.status for answer in answers] == [200] * 100
    assert len(journal.read_text().splitlines()) == 1


def test_requests_for_two_models_are_all_answered(modelswap_server: StartServer) -> None:
    """Mixed requests for models that exclude each other all end, each by its own model."""
    server = modelswap_server(stub_config("a", "b"))
    names = ["a", "b"] * 20
    with ThreadPoolExecutor(len(names)) as pool:
        answers = list(pool.map(server.chat, names))
    assert [answer.status for answer in answers] == [200] * len(names)
    assert [answer.json()["model"] for answer in answers] == names


def test_a_killed_engine_is_started_again(modelswap_server: StartServer) -> None:
    """After its engine was killed, a model answers the next request, in a new process."""
    server = modelswap_server(stub_config("a"))
    assert server.chat("a").status == 200
    killed = kill_the_engine(server)
    wait_until(lambda: "a" not in server.running(), what="the death is noticed")
    assert server.chat("a").status == 200
    assert killed not in server.model_pids()


def test_a_request_right_after_the_kill_has_a_clear_result(modelswap_server: StartServer) -> None:
    """A request that meets the killed engine is answered, or refused as retryable."""
    server = modelswap_server(stub_config("a"))
    assert server.chat("a").status == 200
    kill_the_engine(server)
    assert server.chat("a").status in {200, 502, 503}
    wait_until(lambda: server.chat("a").status == 200, what="it recovers")


def test_a_stream_cut_by_a_kill_looks_broken(modelswap_server: StartServer) -> None:
    """A stream whose engine is killed never ends like a complete one."""
    server = modelswap_server(stub_config("a"))
    with open_chat(server, model="a", stream=True, n=1000, delay_ms=20) as sock:
        got = sock.recv(65536)
        assert b" 200 " in got.split(b"\r\n")[0]
        kill_the_engine(server)
        with pytest.raises(ConnectionError):  # noqa: PT012 - the reset comes at any read
            while True:
                piece = sock.recv(65536)
                if not piece:
                    raise ConnectionAbortedError
                got += piece
    assert not got.endswith(b"0\r\n\r\n")
    assert b"[DONE]" not in got


@pytest.mark.parametrize("fault", ["truncate", "reset", "bad_chunk"])
def test_a_broken_upstream_stream_looks_broken(modelswap_server: StartServer, fault: str) -> None:
    """Whatever breaks a stream upstream, the client does not see a clean end."""
    server = modelswap_server(stub_config("a"))
    received = server_stream(server, fault)
    assert b"half" in received
    assert not received.endswith(b"0\r\n\r\n")


def server_stream(server: Modelswap, fault: str) -> bytes:
    """All bytes of a faulty stream until the connection ends."""
    pieces = []
    with open_chat(server, model="a", stream=True, fault=fault) as sock:
        try:
            while piece := sock.recv(65536):
                pieces.append(piece)
        except ConnectionError:
            pass
    return b"".join(pieces)


@pytest.mark.parametrize("fault", ["no_answer", "garbage", "crash"])
def test_no_answer_from_the_engine_is_a_502(modelswap_server: StartServer, fault: str) -> None:
    """An engine that hangs up or answers rubbish gives 502 with the error envelope."""
    server = modelswap_server(stub_config("a"))
    answer = server.chat("a", fault=fault)
    assert answer.status == 502
    assert answer.json()["error"]["type"] == "server_error"
    wait_until(lambda: server.chat("a").status == 200, what="it recovers")


def test_an_error_of_the_engine_passes_as_it_is(modelswap_server: StartServer) -> None:
    """The engine's own 500 reaches the client byte for byte."""
    server = modelswap_server(stub_config("a"))
    answer = server.chat("a", fault="500")
    assert (answer.status, answer.json()["error"]["message"]) == (500, "stub fault")


def test_a_client_that_leaves_frees_the_engine(modelswap_server: StartServer) -> None:
    """When a client goes away in the middle of a stream, the engine sees it at once."""
    server = modelswap_server(stub_config("a"))
    with open_chat(server, model="a", stream=True, n=100_000, delay_ms=5) as sock:
        assert sock.recv(1024)
        wait_until(lambda: server.stub_state("a")["open"] == 1, what="the engine is at work")
    wait_until(lambda: server.stub_state("a")["cancelled"] == 1, what="the engine is free")
    assert server.stub_state("a")["open"] == 0


def test_a_client_that_leaves_a_hanging_engine_frees_it(modelswap_server: StartServer) -> None:
    """A client that gives up before any response came frees the engine too."""
    server = modelswap_server(stub_config("a"))
    with open_chat(server, model="a", fault="hang"):
        wait_until(lambda: server.stub_state("a")["open"] == 1, what="the engine is at work")
    wait_until(lambda: server.stub_state("a")["cancelled"] == 1, what="the engine is free")


def test_a_client_that_leaves_while_queued_costs_nothing(modelswap_server: StartServer) -> None:
    """A request whose client left while it waited never reaches the engine."""
    server = modelswap_server(stub_config("a", flags=("--ready-after", "0.5")))
    open_chat(server, model="a").close()
    assert server.chat("a").status == 200
    assert server.stub_state("a")["served"] == 1


def test_an_engine_that_hangs_its_probe_fails_in_time(modelswap_server: StartServer) -> None:
    """A probe that is never answered does not outlive healthCheckTimeout."""
    config = stub_config("a", extra="healthCheckTimeout: 15", flags=("--hang-health",))
    server = modelswap_server(config)
    answer = server.chat("a", seconds=40)
    assert (answer.status, answer.json()["error"]["code"]) == (503, "model_load_failed")


def test_an_engine_that_ignores_sigterm_is_swapped_out(modelswap_server: StartServer) -> None:
    """An engine that ignores SIGTERM is ended within its unloadTimeout for the next one."""
    server = modelswap_server(f"""
models:
  deaf:
    cmd: {stub_command("deaf", "--deaf")}
    unloadTimeout: 1
  next:
    cmd: {stub_command("next")}
""")
    assert server.chat("deaf").status == 200
    assert server.chat("next").json()["model"] == "next"
    assert len(server.model_pids()) == 1


def test_the_body_goes_out_byte_for_byte(modelswap_server: StartServer) -> None:
    """A body that nothing has to touch reaches the engine unchanged, odd spacing and all."""
    server = modelswap_server(stub_config("a"))
    body = b'{ "x" : 1.50,\t"model":"a" , "u":"\\u00e9\xc3\xa9", "n": 1e2 }'
    answer = server.ask(
        "POST", "/upstream/a/echo?k=v%20w", body, {"Content-Type": "application/json"}
    )
    found = answer.json()
    assert found["body"].encode("latin-1") == body
    assert (found["path"], found["query"]) == ("/echo", "k=v%20w")


def test_a_large_body_arrives_whole(modelswap_server: StartServer) -> None:
    """Twenty megabytes arrive complete."""
    server = modelswap_server(stub_config("a"))
    body = json.dumps({"model": "a", "messages": [], "image": "x" * (20 << 20)}).encode()
    answer = server.ask("POST", "/upstream/a/echo", body, {"Content-Type": "application/json"})
    assert answer.json()["received"] == len(body)


def test_one_connection_serves_many_models(modelswap_server: StartServer) -> None:
    """A keep-alive connection may ask for one model after another."""
    server = modelswap_server(stub_config("a", "b"))
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    received = []
    for model in ("a", "b", "a"):
        connection.request("POST", "/v1/completions", json.dumps({"model": model}))
        received.append(json.loads(connection.getresponse().read())["model"])
    connection.close()
    assert received == ["a", "b", "a"]


def test_an_upgrade_is_a_raw_tunnel(modelswap_server: StartServer) -> None:
    """After a 101 the bytes go both ways as they are."""
    server = modelswap_server(stub_config("a"))
    assert server.chat("a").status == 200
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        sock.sendall(
            b"GET /upstream/a/tunnel HTTP/1.1\r\nHost: localhost\r\n"
            b"Upgrade: raw\r\nConnection: Upgrade\r\n\r\n"
        )
        got = b""
        while b"\r\n\r\n" not in got:
            got += sock.recv(1024)
        assert got.startswith(b"HTTP/1.1 101")
        sock.sendall(b"\x00\xffbytes")
        assert sock.recv(1024) == b"\x00\xffbytes"
