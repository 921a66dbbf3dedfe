"""The list of bad input: each refused as promised, by the real program."""

from __future__ import annotations

import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

from support.server import Modelswap, stub_config

if TYPE_CHECKING:
    from pathlib import Path

    from support.running import StartServer


def ended(server: Modelswap) -> tuple[int, str]:
    """Start a server that is expected to refuse; its exit code and what it printed."""
    process = server.spawn()
    try:
        return process.wait(30), server.log()
    except subprocess.TimeoutExpired:
        process.kill()
        raise


def test_an_unknown_model_is_named(modelswap_server: StartServer) -> None:
    """404 with the envelope, naming the model that is not there."""
    answer = modelswap_server(stub_config("a")).chat("unknown")
    assert answer.status == 404
    assert "unknown" in answer.json()["error"]["message"]
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"model":""}', b'{"model":null}'])
def test_a_body_without_a_model(modelswap_server: StartServer, body: bytes) -> None:
    """No model in the body: 404, and nothing is started."""
    server = modelswap_server(stub_config("a"))
    answer = server.ask("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
    assert answer.status == 404
    assert "no model id could be identified" in answer.json()["error"]["message"]
    assert server.running() == {}


def test_two_model_keys_are_refused(modelswap_server: StartServer) -> None:
    """Two top-level `model` keys: 400, because proxy and engine could disagree."""
    server = modelswap_server(stub_config("a", "b"))
    answer = server.ask("POST", "/v1/chat/completions", b'{"model":"a","model":"b"}')
    assert answer.status == 400
    assert server.running() == {}


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_over_the_limit(modelswap_server: StartServer, *, announced: bool) -> None:
    """413, whether the length was announced or came in chunks."""
    server = modelswap_server(stub_config("a", extra="limits: {body: 1MiB}"))
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        if announced:
            sock.sendall(head + b"Content-Length: 2000000\r\n\r\n")
        else:
            chunk = b"80000\r\n" + b"x" * 0x80000 + b"\r\n"
            sock.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 2 + chunk[:100])
        assert sock.recv(1024).startswith(b"HTTP/1.1 413 ")
    assert server.ask("GET", "/health").status == 200


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nBad Header: x\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        (
            b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        ),
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_malformed_http(modelswap_server: StartServer, data: bytes) -> None:
    """400 and the connection is closed; the server goes on."""
    server = modelswap_server(stub_config("a"))
    received = server.raw(data)
    assert received.startswith(b"HTTP/1.1 400 ")
    assert received.count(b"HTTP/1.1 ") == 1
    assert server.ask("GET", "/health").status == 200
    assert server.running() == {}


def test_an_engine_that_cannot_start(modelswap_server: StartServer) -> None:
    """503, code, reason and Retry-After; never the command line."""
    server = modelswap_server("models:\n  a:\n    cmd: /no/such/engine --secret-flag ${PORT}\n")
    answer = server.chat("a")
    assert answer.status == 503
    assert answer.json()["error"]["code"] == "model_load_failed"
    assert int(answer.headers["retry-after"]) > 0
    assert b"--secret-flag" not in answer.body


def test_an_engine_that_exits_at_once(modelswap_server: StartServer) -> None:
    """The same for an engine that ends while it starts, and well before the timeout."""
    server = modelswap_server(stub_config("a", flags=("--exit-after", "0", "--ready-after", "9")))
    answer = server.chat("a", seconds=15)
    assert (answer.status, answer.json()["error"]["code"]) == (503, "model_load_failed")


def test_the_port_is_taken(modelswap_server: StartServer) -> None:
    """One line and an exit code, nothing left running."""
    server = modelswap_server(stub_config("a"), start=False)
    with socket.create_server(("127.0.0.1", server.port)):
        code, printed = ended(server)
    assert code != 0
    assert str(server.port) in printed
    assert "Traceback" not in printed


def test_a_broken_configuration_lists_every_problem(modelswap_server: StartServer) -> None:
    """Both mistakes are named, with file and line; exit code, no traceback."""
    server = modelswap_server(
        "models:\n  a:\n    cmd: x ${PORT}\n    ttl: soon\n  b:\n    cmd: y ${NOT_THERE} ${PORT}\n",
        start=False,
    )
    code, printed = ended(server)
    assert code != 0
    assert "ttl" in printed
    assert "NOT_THERE" in printed
    assert "config.yaml:5" in printed
    assert "Traceback" not in printed


def test_a_second_front_on_the_same_state(modelswap_server: StartServer, tmp_path: Path) -> None:
    """One line and an exit code; the first one goes on undisturbed."""
    first = modelswap_server(stub_config("a"))
    assert first.chat("a").status == 200
    second = modelswap_server(
        stub_config("a"), "--state-dir", str(tmp_path / "server0" / "state"), start=False
    )
    code, printed = ended(second)
    assert code != 0
    assert "Traceback" not in printed
    assert first.running() == {"a": "ready"}


def test_no_configuration_file(modelswap_server: StartServer) -> None:
    """A file that is not there is one line and an exit code."""
    server = modelswap_server(stub_config("a"), start=False)
    server.config_file.unlink()
    code, printed = ended(server)
    assert code != 0
    assert "config.yaml" in printed
    assert "Traceback" not in printed
