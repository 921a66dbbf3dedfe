"""Keys, CORS and hosts: which requests are allowed."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest

from support.streams import error_of, model, raw_head

if TYPE_CHECKING:
    from support.server import Modelswap
    from support.streams import Serve

CONFIG = f"""
apiKeys: [sk-right, 12345]
allowedOrigins: ["https://chat.example.org"]
allowedHosts: [models.example.org]
models:
{model("a")}
"""


@pytest.fixture(scope="module")
def server(serve: Serve) -> Modelswap:
    return serve(CONFIG)


@pytest.fixture(scope="module")
def unlocked(serve: Serve) -> Modelswap:
    return serve(f"allowedOrigins: ['https://chat.example.org']\nmodels:\n{model('a')}")


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


CARRIERS = [
    ({"Authorization": "Bearer sk-right"}, 200),
    ({"Authorization": "bearer sk-right"}, 200),
    ({"Authorization": basic("anyone", "sk-right")}, 200),
    ({"Authorization": basic("sk-right", "")}, 401),
    ({"X-Api-Key": "sk-right"}, 200),
    ({"X-Api-Key": "12345"}, 200),
    ({"Authorization": "Token x", "X-Api-Key": "sk-right"}, 200),
    ({"Authorization": "Basic !!!", "X-Api-Key": "sk-right"}, 200),
    ({"Authorization": "Bearer wrong", "X-Api-Key": "sk-right"}, 200),
    ({"Authorization": basic("x", "wrong"), "X-Api-Key": "sk-right"}, 200),
    ({"Authorization": "Bearer sk-right", "X-Api-Key": "wrong"}, 200),
    ({"Api-Key": "sk-right"}, 200),
    ({"Authorization": "Bearer wrong", "Api-Key": "sk-right"}, 200),
    ({"Api-Key": "wrong", "X-Api-Key": "wrong"}, 401),
    ({"Sec-WebSocket-Protocol": "openai-insecure-api-key.sk-right"}, 401),
    ({"Authorization": "Bearer sk-righ"}, 401),
    ({"Authorization": "Bearer sk-right "}, 200),
    ({"Authorization": "sk-right"}, 401),
    ({}, 401),
]


@pytest.mark.parametrize(("headers", "status"), CARRIERS)
def test_carriers_of_a_key(server: Modelswap, headers: dict[str, str], status: int) -> None:
    """Better: any right one of Basic password, Bearer, `x-api-key` and `api-key` lets in (§16, 13)."""
    found = server.ask("GET", "/running", headers=headers).status
    assert found == status or (status == 401 and found == 429)  # the cases before count


def test_wrong_keys_do_not_block_right_ones(serve: Serve) -> None:
    """Better: after many wrong keys the right one enters at once, from the same address."""
    server = serve(f"apiKeys: [sk-right]\nmodels:\n{model('a')}")
    wrong = {"Authorization": "Bearer wrong"}
    found = [server.ask("GET", "/running", headers=wrong) for _ in range(14)]
    assert (found[0].status, found[-1].status) == (401, 429)
    assert int(found[-1].headers["retry-after"]) >= 1
    for headers in ({"Authorization": basic("me", "sk-right")}, {**wrong, "X-Api-Key": "sk-right"}):
        assert server.ask("GET", "/running", headers=headers).status == 200
    assert server.ask("GET", "/ui/").status == 401  # with the challenge: a browser can ask its user
    assert server.chat("a").status == 401
    assert server.ask("GET", "/running", headers=wrong).status == 429


def test_a_refusal(server: Modelswap) -> None:
    """401, the Basic challenge that makes browsers ask for a key, the message."""
    answer = server.ask("POST", "/v1/chat/completions", {"model": "a"})
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == 'Basic realm="llama-swap"'
    assert error_of(answer) == {
        "message": "unauthorized: invalid or missing API key",
        "type": "authentication_error",
        "param": None,
        "code": "unauthorized",
    }


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health", 200),
        ("GET", "/wol-health", 200),
        ("GET", "/", 302),
        ("GET", "/upstream", 302),
        ("OPTIONS", "/nope", 204),
        ("OPTIONS", "/upstream/a/x", 204),
        ("GET", "/nope", 404),
        ("POST", "/v1/models", 405),
    ],
)
def test_without_a_key(server: Modelswap, method: str, path: str, status: int) -> None:
    """The routes that need no key (§16, 14)."""
    assert server.ask(method, path).status == status


@pytest.mark.parametrize(
    "path",
    [
        "/ui/",
        "/metrics",
        "/v1/models",
        "/models",
        "/running",
        "/unload",
        "/logs",
        "/logs/stream",
        "/api/events",
        "/api/metrics/activity",
        "/api/metrics/stats",
        "/api/captures/1",
        "/api/performance",
        "/api/hardware",
        "/api/version",
        "/api/session",
        "/api/profiles",
        "/upstream/a/",
        "/comfyui/",
        "/props?model=a",
    ],
)
def test_with_a_key(server: Modelswap, path: str) -> None:
    """Everything else, the page and the metrics included (§16, 15)."""
    answer = server.ask("GET", path)
    assert (answer.status, answer.headers["www-authenticate"]) == (401, 'Basic realm="llama-swap"')


SCOPED = f"""
apiKeys:
  - {{name: looks, key: sk-looks, scopes: [read]}}
  - {{name: asks, key: sk-asks, scopes: [inference]}}
  - {{name: rules, key: sk-rules, scopes: [admin], models: ["a*"]}}
models:
{model("a")}
"""


def test_a_key_may_ask_what_it_may_do(serve: Serve, unlocked: Modelswap) -> None:
    """`/api/session` shows a key's scopes and models; without keys it shows all."""
    scoped = serve(SCOPED)

    def session(key: str) -> object:
        return scoped.ask("GET", "/api/session", headers={"X-Api-Key": key}).json()

    everything = ["admin", "inference", "read"]
    assert session("sk-looks") == {"key": "looks", "scopes": ["read"], "models": []}
    assert session("sk-rules") == {"key": "rules", "scopes": everything, "models": ["a*"]}
    assert unlocked.ask("GET", "/api/session").json() == {
        "key": "",
        "scopes": everything,
        "models": [],
    }


def test_a_key_without_the_scope_for_the_page_gets_a_message(serve: Serve) -> None:
    """A browser with a key for inference only reads which scope is missing."""
    headers = {"X-Api-Key": "sk-asks", "Accept": "text/html"}
    answer = serve(SCOPED).ask("GET", "/ui/", headers=headers)
    assert answer.status == 403
    assert b"this key lacks the scope" in answer.body
    assert b"read" in answer.body


# CORS


def preflight(server: Modelswap, origin: str, **more: str) -> dict[str, str]:
    headers = {"Origin": origin, **{k.replace("_", "-"): v for k, v in more.items()}}
    answer = server.ask("OPTIONS", "/v1/chat/completions", headers=headers)
    assert (answer.status, answer.body) == (204, b"")
    return answer.headers


def test_a_preflight(server: Modelswap) -> None:
    """llama-swap's methods, headers and age; an allowed origin instead of `*`."""
    found = preflight(server, "https://chat.example.org")
    assert found["access-control-allow-origin"] == "https://chat.example.org"
    assert found["access-control-allow-methods"] == "GET, POST, PUT, PATCH, DELETE, OPTIONS"
    assert found["access-control-allow-headers"] == (
        "Content-Type, Authorization, Accept, X-Requested-With"
    )
    assert found["access-control-max-age"] == "86400"
    asked = "x-stainless-os, bad name, ,authorization"
    found = preflight(server, "http://localhost:3000", Access_Control_Request_Headers=asked)
    assert found["access-control-allow-headers"] == "x-stainless-os, authorization"


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("https://chat.example.org", True),
        ("http://localhost:3000", True),
        ("tauri://localhost", True),
        ("https://evil.example", False),
        ("null", False),
    ],
)
def test_answers_carry_cors(unlocked: Modelswap, origin: str, *, allowed: bool) -> None:
    """Better: answers too, lists and chats alike; never `*`, never credentials."""
    assert ("access-control-allow-origin" in preflight(unlocked, origin)) is allowed
    for method, path, body in (
        ("GET", "/v1/models", None),
        ("GET", "/running", None),
        ("POST", "/v1/rerank", {"model": "a"}),
    ):
        answer = unlocked.ask(
            method, path, body, {"Origin": origin, "Content-Type": "application/json"}
        )
        got = answer.headers.get("access-control-allow-origin")
        assert got == (origin if allowed else None), path
        assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Referer": "https://evil.example/page"},
    ],
)
def test_other_sites_change_nothing(unlocked: Modelswap, headers: dict[str, str]) -> None:
    """Better: `GET /unload` and its like are refused when another site sends them."""
    assert unlocked.chat("a").status == 200
    for method, path in (
        ("GET", "/unload"),
        ("POST", "/api/models/unload"),
        ("POST", "/api/models/unload/a"),
        ("PUT", "/api/profiles/active"),
        ("POST", "/api/inflight/1/cancel"),
        ("POST", "/api/config/reload"),
    ):
        answer = unlocked.ask(method, path, headers=headers)
        assert (answer.status, error_of(answer)["code"]) == (403, "forbidden"), path
    assert unlocked.running() == {"a": "ready"}


# Hosts


@pytest.mark.parametrize(
    ("host", "served"),
    [
        ("localhost", True),
        ("localhost:8080", True),
        ("127.0.0.1:9999", True),
        ("[::1]:1", True),
        ("models.example.org", True),
        ("my-machine", True),
        ("my-machine.local", True),
        ("evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("8.8.8.8", False),
    ],
)
def test_hosts(server: Modelswap, host: str, *, served: bool) -> None:
    """Better: a name that is not ours is refused, against DNS rebinding."""
    got = raw_head(server, "GET /health HTTP/1.1", f"Host: {host}")
    assert got.startswith(b"HTTP/1.1 200" if served else b"HTTP/1.1 403")
