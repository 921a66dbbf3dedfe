"""A web page of another site can do nothing to a server on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.raw_http import JSON, ScriptedUpstream, dialled, status_of
from support.scripted_upstreams import UPGRADE, switching

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.server import Modelswap
    from support.streams import RecordingPeer, Serve

EVIL = "https://evil.example"
CHAT = "/v1/chat/completions"
BODY = b'{"model":"free"}'
CHANGES = [
    ("GET", "/unload"),
    ("POST", "/unload"),
    ("POST", "/api/models/unload"),
    ("POST", "/api/models/unload/m"),
    ("POST", "/api/models/load/m"),
    ("PUT", "/api/profiles/active"),
    ("POST", "/api/inflight/1/cancel"),
    ("POST", "/api/config/reload"),
]
MODELS = [
    ("POST", CHAT, BODY),
    ("POST", "/v1/audio/transcriptions?model=free", BODY),
    ("GET", "/v1/audio/voices?model=free", None),
    ("GET", "/upstream/free/x", None),
    ("POST", "/upstream/free/x", BODY),
    ("GET", "/props?model=free", None),
]
FOREIGN: list[dict[str, str]] = [
    {"Origin": EVIL},
    {"Origin": "null"},
    {"Origin": "http://localhost.evil.example"},
    {"Origin": "http://127.0.0.1.evil.example"},
    {"Origin": "http://localhost:8080@evil.example"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "something-new"},
    {"Referer": f"{EVIL}/page"},
    {"Sec-Fetch-Site": "same-site", "Referer": f"{EVIL}/page"},
]
OURS: list[dict[str, str]] = [
    {},
    {"Origin": "http://localhost:3000"},
    {"Origin": "app://obsidian.md"},
    {"Origin": "https://chat.friend.example"},
    {"Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "none"},
    {"Sec-Fetch-Site": "same-site", "Referer": "http://localhost:3000/page"},
]


@pytest.fixture(scope="module")
def server(serve: Serve, peer: RecordingPeer, echo: ScriptedUpstream) -> Modelswap:
    return serve(
        f"""
allowedHosts: [ai.home.example]
allowedOrigins: ["https://chat.friend.example"]
models: {{}}
peers:
  far: {{proxy: "{peer.url}", models: [free]}}
  loud: {{proxy: "{echo.url}", models: [loud]}}
"""
    )


def permissive(sock: object, _request: bytes) -> None:
    """An upstream that allows every site, twice."""
    sock.sendall(  # type: ignore[attr-defined]  # a socket
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nAccess-Control-Allow-Origin: *\r\n"
        b"access-control-allow-credentials: true\r\nAccess-Control-Allow-Private-Network: true\r\n"
        b"Access-Control-Allow-Origin: https://evil.example\r\n"
        b"Access-Control-Expose-Headers: X-Seed, X-Model\r\naccess-control-expose-headers:X-Took \r\n"
        b"X-Seed: 1\r\n\r\nok"
    )


@pytest.fixture(scope="module")
def echo() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream(permissive) as liar:
        yield liar


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
@pytest.mark.parametrize(("method", "path"), CHANGES)
def test_no_foreign_page_changes_anything(
    server: Modelswap, method: str, path: str, headers: dict[str, str]
) -> None:
    """403 for every change that a page of another site asks for."""
    assert status_of(server, method, path, b"{}" if method != "GET" else None, headers) == 403


@pytest.mark.parametrize("headers", OURS, ids=str)
def test_our_own_pages_and_programs_may(server: Modelswap, headers: dict[str, str]) -> None:
    """Requests with no origin, a local one or a listed one pass."""
    for method, path in CHANGES:
        assert status_of(server, method, path, b"{}" if method != "GET" else None, headers) != 403
    assert status_of(server, "POST", CHAT, BODY, {**JSON, **headers}) == 200


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
@pytest.mark.parametrize("asked", MODELS, ids=str)
@pytest.mark.parametrize("kind", ["text/plain", "application/json"])
def test_no_foreign_page_reaches_a_model(
    server: Modelswap,
    peer: RecordingPeer,
    asked: tuple[str, str, bytes | None],
    kind: str,
    headers: dict[str, str],
) -> None:
    """403, and the model gets no request: neither a simple one nor any other."""
    method, path, body = asked
    before = len(peer.requests)
    assert status_of(server, method, path, body, {"Content-Type": kind, **headers}) == 403
    assert len(peer.requests) == before


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200), ("127.0.0.1:1", 200), ("[::1]", 200), ("ai.home.example:443", 200),
        ("evil.example", 403), ("localhost.evil.example", 403), ("127.0.0.1.nip.io", 403),
        ("0.0.0.0", 403), ("169.254.169.254", 403), ("evil.example:8080", 403),
        ("localhost:80:80", 400), ("localhost@evil.example", 400), ("", 400),
        ("2130706433", 200), ("xn--lcalhost-4fg.example", 403),
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/v1/models", "/unload", "/logs", "/health", "/ui/", "/nothing"])
def test_rebinding(server: Modelswap, host: str, status: int, path: str) -> None:
    """A name that is not ours gets 403 for every request."""
    raw = server.raw(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    found = int(raw.split(b" ", 2)[1])
    assert found == (404 if path == "/nothing" and status == 200 else status)


def test_rebinding_of_a_preflight(server: Modelswap) -> None:
    """Even `OPTIONS` needs a Host of ours."""
    raw = server.raw(b"OPTIONS /x HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
    assert raw.startswith(b"HTTP/1.1 403 ")


def test_no_foreign_websocket(serve: Serve) -> None:
    """A handshake from another site is refused before the model gets it; one from our own opens."""
    with ScriptedUpstream(switching) as liar:
        own = serve(f'models: {{}}\npeers:\n  far: {{proxy: "{liar.url}", models: [ws]}}\n')
        for origin, expected in ((EVIL, b"403"), ("null", b"403"), ("http://localhost", b"101")):
            with dialled(own) as sock:
                sock.sendall(UPGRADE % (b"/upstream/ws/x", b"Origin: %b\r\n" % origin.encode()))
                assert sock.recv(65536).split(b" ")[1] == expected
        assert len(liar.requests) == 1


@pytest.mark.parametrize("origin", [EVIL, "null"])
def test_cors_of_relayed_answers_is_ours(server: Modelswap, origin: str) -> None:
    """The model server's CORS fields are dropped; a foreign origin gets none."""
    refused = server.ask("GET", "/upstream/loud/x", headers={"Origin": origin})
    assert refused.status == 403
    assert not [name for name in refused.headers if name.startswith("access-control-")]


def test_cors_of_relayed_answers_is_single(server: Modelswap) -> None:
    """A listed origin gets exactly one `Access-Control-Allow-Origin`, and never credentials."""
    request = (
        "GET /upstream/loud/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        "Origin: https://chat.friend.example\r\n\r\n"
    )
    raw = server.raw(request.encode()).lower()
    assert raw.count(b"access-control-allow-origin") == 1
    assert b"access-control-allow-origin: https://chat.friend.example\r\n" in raw
    assert b"access-control-allow-credentials" not in raw
    assert b"access-control-allow-private-network" not in raw
    assert b"vary: origin" in raw


def test_headers_that_pages_may_read(server: Modelswap) -> None:
    """Headers that the model server exposes stay exposed to a listed origin, beside those of our errors."""
    friend = {"Origin": "https://chat.friend.example"}
    ours = "Retry-After, X-Should-Retry, Request-Id, X-Request-Id"
    answer = server.ask("GET", "/upstream/loud/x", headers=friend)
    exposed = answer.headers["access-control-expose-headers"]
    assert exposed == f"X-Seed, X-Model, X-Took, {ours}"
    for path in ("/v1/models", "/no/such/path", "/upstream/free/x"):
        answer = server.ask("GET", path, headers=friend)
        assert answer.headers["access-control-expose-headers"] == ours
    assert "access-control-expose-headers" not in server.ask("GET", "/v1/models").headers


def test_without_an_origin_the_answer_passes_as_it_is(server: Modelswap) -> None:
    """A program that is no browser gets the model server's response unchanged."""
    answer = server.ask("GET", "/upstream/loud/x")
    assert "x-seed" in answer.headers
    assert "access-control-expose-headers" in answer.headers


@pytest.mark.parametrize("path", ["/v1/models", "/health", "/nothing", CHAT, "/logs"])
def test_a_foreign_page_cannot_read(server: Modelswap, path: str) -> None:
    """No response allows another site to read it."""
    answer = server.ask("GET", path, headers={"Origin": EVIL, "Accept": "text/plain"})
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("path", ["/v1/models", "/upstream/loud/x", "/no/such/path"])
def test_preflights(server: Modelswap, path: str) -> None:
    """Every preflight gets a response; only a listed origin is named, also for private networks."""
    asked = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, x-stainless-lang, bad\theader",
        "Access-Control-Request-Private-Network": "true",
    }
    foreign = server.ask("OPTIONS", path, headers={"Origin": EVIL, **asked})
    assert foreign.status == 204
    assert "access-control-allow-origin" not in foreign.headers
    assert "access-control-allow-private-network" not in foreign.headers
    friend = server.ask("OPTIONS", path, headers={"Origin": "https://chat.friend.example", **asked})
    assert friend.headers["access-control-allow-origin"] == "https://chat.friend.example"
    assert friend.headers["access-control-allow-private-network"] == "true"
    assert friend.headers["access-control-allow-headers"] == "authorization, x-stainless-lang"
    assert "access-control-allow-credentials" not in friend.headers


def test_the_page_cannot_be_framed_or_sniffed(server: Modelswap) -> None:
    """The page forbids every frame, and scripts other than its own."""
    answer = server.ask("GET", "/ui/")
    policy = answer.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
    assert "script-src" not in policy or "unsafe-inline" not in policy.split("script-src")[1][:60]
    assert answer.headers["x-content-type-options"] == "nosniff"
