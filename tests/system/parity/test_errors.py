"""Errors and redirects, and what a request and a response look like on the other side."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

import pytest

from support.streams import NO_MODEL, NO_ROUTER, error_of, model, opened, raw_head, rows, sse

if TYPE_CHECKING:
    from support.server import Modelswap
    from support.streams import Serve


@pytest.fixture(scope="module")
def server(serve: Serve) -> Modelswap:
    return serve(f"logLevel: warn\nmodels:\n{model('a', aliases=['nick'])}")


def test_an_unknown_model(server: Modelswap) -> None:
    """§16, 1: 404, and a row with the name that was asked for."""
    answer = server.chat("nope")
    assert answer.status == 404
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "src": "llama-swap",
        "error": {
            "message": f"{NO_ROUTER}: 'nope'",
            "type": "invalid_request_error",
            "param": None,
            "code": "not_found",
        },
    }
    (row,) = rows(server, "?limit=1")
    assert (row["model"], row["resp_status_code"]) == ("nope", 404)
    assert row["error_msg"].startswith(NO_ROUTER)
    assert "metadata" not in row


def test_no_model_leaves_no_row(server: Modelswap) -> None:
    """§16, 2: a request without a model leaves no row."""
    before = rows(server, "?limit=1")[0]["id"]
    answer = server.ask("POST", "/v1/chat/completions", "hello", {"Content-Type": "text/x"})
    assert (answer.status, error_of(answer)["message"]) == (404, NO_MODEL)
    assert rows(server, "?limit=1")[0]["id"] == before


def test_errors_as_plain_text(server: Modelswap) -> None:
    """§16, 3: `Accept: text/plain` gets `llama-swap: <message>`."""
    headers = {"Accept": "text/plain"}
    answer = server.ask("POST", "/v1/chat/completions", {"model": "nope"}, headers)
    assert answer.body.decode() == f"llama-swap: {NO_ROUTER}: 'nope'"
    assert answer.headers["content-type"].startswith("text/plain")


def test_errors_as_a_page(server: Modelswap) -> None:
    """`Accept: text/html` gets a page, escaped."""
    answer = server.ask("GET", "/%3Cb%3E", headers={"Accept": "text/html"})
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.body.startswith(b"<html><body><h1>llama-swap</h1><p>")
    assert b"<b>" not in answer.body


def test_axios_gets_json(server: Modelswap) -> None:
    """Better: §16, 19b — negotiation, no search for `text/plain` in the header."""
    headers = {"Accept": "application/json, text/plain, */*"}
    answer = server.ask("POST", "/v1/chat/completions", {"model": "nope"}, headers)
    assert error_of(answer)["message"].startswith(NO_ROUTER)


@pytest.mark.parametrize("path", ["/nope", "/running/", "/api/captures/"])
def test_unknown_paths(server: Modelswap, path: str) -> None:
    """Better: an unknown path is a 404 in the envelope."""
    answer = server.ask("GET", path)
    assert (answer.status, error_of(answer)["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/v1/models", "GET, HEAD"),
        ("GET", "/v1/chat/completions", "POST"),
        ("DELETE", "/v1/audio/voices", "GET, HEAD, POST"),
        ("POST", "/ui", "GET, HEAD"),
        ("POST", "/api/events", "GET, HEAD"),
    ],
)
def test_wrong_methods(server: Modelswap, method: str, path: str, allow: str) -> None:
    """405 with a sorted `Allow`, in the envelope."""
    answer = server.ask(method, path)
    assert (answer.status, answer.headers["allow"]) == (405, allow)
    assert error_of(answer)["type"] == "invalid_request_error"


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/running", "/api/version", "/logs"])
def test_get_routes_answer_head(server: Modelswap, path: str) -> None:
    """HEAD is GET without the body."""
    assert server.ask("HEAD", path).status == 200


@pytest.mark.parametrize(
    ("asked_for", "to"),
    [
        ("//v1/models", "/v1/models"),
        ("/v1//models?x=1", "/v1/models?x=1"),
        ("/v1/./models", "/v1/models"),
        ("/v1/x/../models", "/v1/models"),
        ("/upstream/a//x", "/upstream/a/x"),
        ("/upstream/a/b/../x?q=1", "/upstream/a/x?q=1"),
    ],
)
def test_unclean_paths_are_redirected(server: Modelswap, asked_for: str, to: str) -> None:
    """`//`, `/./` and `/../`: 307 to the clean path, with the query."""
    got = raw_head(server, f"GET {asked_for} HTTP/1.1", "Host: localhost")
    assert got.startswith(b"HTTP/1.1 307 ")
    found = re.search(rb"\r\nlocation: ([^\r]*)\r\n", got.lower())
    assert found is not None
    assert urljoin(f"http://h{asked_for}", found[1].decode()) == f"http://h{to}"


@pytest.mark.parametrize(
    ("method", "path", "status", "to"),
    [
        ("GET", "/", 302, "/ui"),
        ("GET", "/ui", 307, "/ui/"),
        ("GET", "/upstream", 302, "/ui/models"),
        ("POST", "/upstream", 307, "/upstream/"),
        ("GET", "/upstream/a?x=1", 301, "/upstream/a/?x=1"),
        ("POST", "/upstream/a?x=1", 308, "/upstream/a/?x=1"),
        ("HEAD", "/upstream/nick", 301, "/upstream/nick/"),
    ],
)
def test_redirects(server: Modelswap, method: str, path: str, status: int, to: str) -> None:
    """§1.3, §7 and §16, 9 and 15."""
    answer = server.ask(method, path)
    assert (answer.status, urljoin(path, answer.headers["location"])) == (status, to)
    assert not answer.headers["location"].startswith("/")  # a prefix in front of us stays


def test_health(server: Modelswap) -> None:
    """`OK`, always."""
    for path in ("/health", "/wol-health"):
        answer = server.ask("GET", path)
        assert (answer.status, answer.body) == (200, b"OK")
        assert answer.headers["content-type"].startswith("text/plain")


# The way through


def test_event_streams_are_marked(server: Modelswap) -> None:
    """§16, 20: `X-Accel-Buffering: no` is added."""
    body = {"model": "a", "messages": [], "stream": True}
    with opened(server, "POST", "/v1/chat/completions", body) as answer:
        assert answer.status == 200
        assert answer.getheader("X-Accel-Buffering") == "no"
        assert answer.getheader("Content-Type") == "text/event-stream"
        assert list(sse(answer))[-1] == "[DONE]"


def header_of(answer: Any, name: str) -> list[str]:
    return [value for key, value in answer.json()["headers"] if key.lower() == name]


def test_what_the_model_server_gets(server: Modelswap) -> None:
    """§4.4: the client's Host, its address appended, nothing of the connection."""
    answer = server.ask(
        "POST",
        "/v1/rerank",
        {"model": "a"},
        {
            "Host": "localhost:1234",
            "X-Custom": "1",
            "Connection": "X-Mine",
            "X-Mine": "2",
            "Keep-Alive": "5",
            "TE": "trailers",
            "Authorization": "Bearer secret",
            "X-Api-Key": "secret",
            "Proxy-Authorization": "Basic eDp5",
            "Content-Type": "application/json",
        },
    )
    assert header_of(answer, "host") == ["localhost:1234"]
    assert header_of(answer, "x-custom") == ["1"]
    assert header_of(answer, "x-forwarded-for") == ["127.0.0.1"]
    assert header_of(answer, "authorization") == ["Bearer secret"]
    assert header_of(answer, "x-api-key") == ["secret"]
    for gone in ("x-mine", "keep-alive", "user-agent", "proxy-authorization"):
        assert not header_of(answer, gone), gone


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ("br, zstd, GZip;q=0.5,deflate", ["GZip;q=0.5, deflate"]),
        ("gzip", ["gzip"]),
        ("br;q=1, *", ["identity"]),
        ("identity", ["identity"]),
    ],
)
def test_only_codings_that_can_be_read(server: Modelswap, sent: str, expected: list[str]) -> None:
    """§4.4: what is recorded comes as gzip, deflate or plain; what is not recorded, as asked for."""
    headers = {"Content-Type": "application/json", "Accept-Encoding": sent}
    for path in ("/v1/rerank", "/upstream/a/v1/rerank"):
        answer = server.ask("POST", path, {"model": "a"}, headers)
        assert header_of(answer, "accept-encoding") == expected
    answer = server.ask("POST", "/upstream/a/elsewhere", {}, headers)
    assert header_of(answer, "accept-encoding") == [sent]


def test_the_client_s_address_is_appended(server: Modelswap) -> None:
    """`X-Forwarded-For` is extended by the client's address."""
    headers = {"X-Forwarded-For": "9.9.9.9", "Content-Type": "application/json"}
    answer = server.ask("POST", "/v1/rerank", {"model": "a"}, headers)
    assert header_of(answer, "x-forwarded-for") == ["9.9.9.9, 127.0.0.1"]


def test_a_model_server_s_errors_pass(server: Modelswap) -> None:
    """A status and body of the model server reach the client unchanged."""
    answer = server.chat("a", fault="500")
    assert answer.status == 500
    assert answer.json() == {"error": {"message": "stub fault", "code": 500}}
    (row,) = rows(server, "?limit=1")
    assert (row["resp_status_code"], row["error_msg"]) == (500, "stub fault")


def test_no_answer_is_a_502_in_the_envelope(server: Modelswap) -> None:
    """Better: a local model that closes without a response is a 502 with a body."""
    answer = server.chat("a", fault="no_answer")
    assert (answer.status, error_of(answer)["code"]) == (502, "bad_gateway")


def test_expect_continue_is_answered_once(server: Modelswap) -> None:
    """Better: the client sees one `100 Continue`, and the model server no `Expect`."""
    body = b'{"model":"a"}'
    head = (
        "POST /v1/rerank HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        sock.sendall(head.encode())
        assert sock.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(body)
        got = b""
        while piece := sock.recv(65536):
            got += piece
    assert got.startswith(b"HTTP/1.1 200")
    assert b"expect" not in got.lower()
