"""Errors on `/v1/messages` have the shape of Anthropic's API, whichever part refuses."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from support.server import wait_until
from support.streams import model

if TYPE_CHECKING:
    from support.server import Modelswap
    from support.streams import Serve

KEY = {"X-Api-Key": "all-key-1"}
CONFIG = f"""
apiKeys:
  - all-key-1
  - {{key: read-key-1, scopes: [read]}}
  - {{key: slow-key-1, rateLimit: 1}}
  - {{key: narrow-key-1, models: [other]}}
limits: {{body: 64KiB}}
groups: {{all: {{swap: false, members: [a, broken, one, gone]}}}}
models:
{model("a")}
{model("one", concurrencyLimit=1)}
  broken: {{cmd: "sh -c 'exit 3' ${{PORT}}"}}
  gone: {{cmd: "sleep 100", proxy: "http://127.0.0.1:9", checkEndpoint: none}}
"""
PATHS = [
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v/messages",
    "/v/messages/count_tokens",
    "/upstream/a/v1/messages",
]


@pytest.fixture(scope="module")
def server(serve: Serve) -> Modelswap:
    return serve(CONFIG)


def refusal(
    server: Modelswap,
    path: str = "/v1/messages",
    body: Any = None,
    headers: dict[str, str] | None = None,
    *,
    method: str = "POST",
) -> tuple[int, str, str]:
    """Status, type and code of a response in Anthropic's shape."""
    sent = {"Content-Type": "application/json", **(KEY if headers is None else headers)}
    answer = server.ask(method, path, {"model": "a"} if body is None else body, sent)
    document = answer.json()
    assert document["type"] == "error", document
    assert isinstance(document["error"]["message"], str)
    assert document["request_id"].startswith("req_")
    assert answer.headers.get("request-id") in {document["request_id"], None}
    assert document["src"] == "llama-swap"
    assert answer.headers["content-type"] == "application/json"
    return answer.status, document["error"]["type"], document["error"]["code"]


@pytest.mark.parametrize("path", PATHS)
def test_refused_requests(server: Modelswap, path: str) -> None:
    """No key, a wrong one, one without the scope, a foreign page, a foreign name of ours."""
    unauthorized = (401, "authentication_error", "unauthorized")
    assert refusal(server, path, headers={}) == unauthorized
    assert refusal(server, path, headers={"X-Api-Key": "wrong-1"}) == unauthorized
    forbidden = (403, "permission_error", "forbidden")
    for headers in (
        {"X-Api-Key": "read-key-1"},
        {"X-Api-Key": "narrow-key-1"},
        {**KEY, "Origin": "https://evil.example"},
        {**KEY, "Host": "evil.example"},
    ):
        assert refusal(server, path, headers=headers) == forbidden


@pytest.mark.parametrize("path", PATHS)
def test_too_large(server: Modelswap, path: str) -> None:
    """A body beyond the limit, announced or not."""
    large = json.dumps({"model": "a", "x": "x" * 70_000})
    found = refusal(server, path, large)
    assert found[:2] == (413, "request_too_large")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("head", "status"),
    [
        (
            "POST {} HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        ("POST {}/%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("POST {} HTTP/1.1\r\n" + "X: y\r\n" * 1000 + "\r\n", 431),
        ("POST {}?" + "x" * 70_000, 414),
        ("POST {} HTTP/1.1\r\nHost: x\r\nno header\r\n", 400),
        ("POST {} HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n", 413),
        ("POST {} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    ],
    ids=["framing", "escape", "headers", "line", "malformed", "body", "chunk"],
)
def test_what_the_http_layer_refuses(server: Modelswap, path: str, head: str, status: int) -> None:
    """Heads that cannot be read, and bodies that are broken off: the shape, and the `Request-Id`."""
    answer = server.raw(head.replace("{}", path).encode())
    fields, _, body = answer.partition(b"\r\n\r\n")
    document = json.loads(body)
    assert int(fields.split(b" ")[1]) == status
    assert document["type"] == "error", document
    assert f"request-id: {document['request_id']}".encode() in fields.lower()


def test_pages_may_read_refusals_of_the_http_layer(server: Modelswap) -> None:
    """A page of an allowed origin can read that its body is too large."""
    answer = server.raw(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nOrigin: http://localhost:3000\r\n"
        b"Content-Length: 99999999\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"access-control-allow-origin: http://localhost:3000\r\n" in answer.lower()


@pytest.mark.parametrize("path", PATHS[:4])
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"model": "nope"}, (404, "not_found_error", "not_found")),
        ({}, (404, "not_found_error", "not_found")),
        ("{", (400, "invalid_request_error", "bad_request")),
        ('{"model":"a","model":"b"}', (400, "invalid_request_error", "bad_request")),
        ({"model": "broken"}, (503, "api_error", "model_load_failed")),
        ({"model": "broken", "stream": True}, (503, "api_error", "model_load_failed")),
        ({"model": "gone"}, (502, "api_error", "bad_gateway")),
    ],
    ids=str,
)
def test_unknown_and_failing_models(
    server: Modelswap, path: str, body: Any, expected: tuple[int, str, str]
) -> None:
    """Unknown models, bodies that cannot be read, models that do not come up or do not answer."""
    status, kind, code = refusal(server, path, body)
    if body == {}:
        assert (status // 100, kind.endswith("_error")) == (4, True)
    else:
        assert (status, kind, code) == expected


def test_routes(server: Modelswap) -> None:
    """Methods, paths below, and unknown models below `/upstream`."""
    wrong_method = (405, "invalid_request_error", "invalid_request")
    assert refusal(server, method="GET") == wrong_method
    missing = (404, "not_found_error", "not_found")
    for path in (
        "/v1/messages/batches", "/v1/messages/", "/anthropic/v1/messages",
        "/upstream/nope/v1/messages", "/upstream/nope/v1/messages/count_tokens",
    ):  # fmt: skip
        assert refusal(server, path) == missing, path


def test_too_many(server: Modelswap) -> None:
    """A key's rate, and a model's limit."""
    slow = {"X-Api-Key": "slow-key-1"}
    body = {"model": "a", "max_tokens": 1, "messages": []}
    assert server.ask("POST", "/v1/messages", body, slow).status == 200
    assert refusal(server, headers=slow)[:2] == (429, "rate_limit_error")
    with ThreadPoolExecutor() as pool:
        long = {"model": "one", "delay_ms": 800}
        running = pool.submit(server.ask, "POST", "/v1/messages", long, KEY)
        wait_until(lambda: server.ask("GET", "/metrics", headers=KEY).body and running_one(server))
        assert refusal(server, body={"model": "one"}) == (
            429, "rate_limit_error", "concurrency_limit",
        )  # fmt: skip
        assert running.result().status == 200


def running_one(server: Modelswap) -> bool:
    items = server.ask("GET", "/running", headers=KEY).json()["running"]
    return any(item["model"] == "one" and item["in_flight"] for item in items)


def test_other_paths_keep_the_envelope(server: Modelswap) -> None:
    """OpenAI's clients, and paths that only look similar."""
    for path in ("/v1/chat/completions", "/v1/threads/t/messages", "/v1/messagesx"):
        document = server.ask("POST", path, {"model": "nope"}, KEY).json()
        assert set(document) == {"src", "error"}, path


def test_text_and_pages_are_left(server: Modelswap) -> None:
    """A client that prefers text gets text."""
    answer = server.ask("POST", "/v1/messages", {"model": "x"}, {**KEY, "Accept": "text/plain"})
    assert answer.body.startswith(b"llama-swap: ")


def test_a_model_s_own_error_passes(server: Modelswap) -> None:
    """The model server's response is not rewritten."""
    answer = server.ask("POST", "/v1/messages", {"model": "a", "fault": "500"}, KEY)
    assert answer.json() == {"error": {"message": "stub fault", "code": 500}}
