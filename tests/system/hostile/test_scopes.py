"""Every row of the route table against every kind of key."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import TYPE_CHECKING

import pytest

from modelswap.api.routes import ROUTES, ModelLocation, Route
from modelswap.config.schema.schema import KeyScope
from support.raw_http import JSON, bearer, dialled, is_serving, status_of, wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from support.server import Modelswap
    from support.streams import RecordingPeer, Serve

FULL, INFERENCE, READ, ADMIN, LIMITED = "full-key", "infer-key", "read-key", "admin-key", "some-key"
FILED, EXPIRED = "filed-key", "expired-key"
BOTH = "both-key"
SCOPES = {
    FULL: {KeyScope.INFERENCE, KeyScope.READ, KeyScope.ADMIN},
    ADMIN: {KeyScope.INFERENCE, KeyScope.READ, KeyScope.ADMIN},
    INFERENCE: {KeyScope.INFERENCE},
    READ: {KeyScope.READ},
    FILED: {KeyScope.INFERENCE},
    LIMITED: {KeyScope.INFERENCE, KeyScope.READ, KeyScope.ADMIN},
}


@pytest.fixture(scope="module")
def guarded(
    serve: Serve, peer: RecordingPeer, tmp_path_factory: pytest.TempPathFactory
) -> Modelswap:
    """A server with keys of every form; its only model is a peer's."""
    file: Path = tmp_path_factory.mktemp("keys") / "key"
    file.write_text(f"{FILED}\n")
    digest = hashlib.sha256(INFERENCE.encode()).hexdigest()
    return serve(
        f"""
apiKeys:
  - {FULL}
  - {{name: infer, keyHash: "sha256:{digest}", scopes: [inference]}}
  - {{name: reader, key: {READ}, scopes: [read]}}
  - {{name: boss, key: {ADMIN}, scopes: [admin]}}
  - {{name: filed, keyFile: "{file}", scopes: [inference]}}
  - {{name: some, key: {LIMITED}, models: ["granted*"]}}
  - {{name: old, key: {EXPIRED}, expires: "2020-01-01"}}
models: {{}}
peers:
  far: {{proxy: "{peer.url}", models: [granted, withheld]}}
"""
    )


def name(route: Route) -> str:
    return f"{route.method} {route.path}"


def target(route: Route, model: str = "unknown") -> tuple[str, str, bytes | None]:
    """A request that the row answers."""
    method = "POST" if route.method == "ANY" else route.method
    path = re.sub(r"\{path\.\.\.\}", f"{model}/x", route.path)
    path = re.sub(r"\{\w+(\.\.\.)?\}", "7" if "captures" in path else model, path)
    if route.model is ModelLocation.QUERY:
        return method, f"{path}?model={model}", None
    body = b'{"model":"%s"}' % model.encode() if method in {"POST", "PUT"} else None
    return method, path, body


def asked(server: Modelswap, route: Route, key: str | None, model: str = "unknown") -> int:
    method, path, body = target(route, model)
    headers = {**(JSON if body else {}), **({} if key is None else bearer(key))}
    return status_of(server, method, path, body, headers)


@pytest.mark.parametrize("route", ROUTES, ids=name)
def test_each_row_enforces_its_scope(guarded: Modelswap, route: Route) -> None:
    """A key with the scope is not refused, a key without it gets 403, no valid key gets 401."""
    for key, scopes in SCOPES.items():
        if key == LIMITED and (route.mixed or route.model is ModelLocation.COMFYUI):
            continue
        status = asked(guarded, route, key)
        if route.scope is None or route.scope in scopes:
            assert status not in {401, 403}, key
        else:
            assert status == 403, key
    for wrong in (None, EXPIRED):
        status = asked(guarded, route, wrong)
        assert (status == 401) is (route.scope is not None), wrong


@pytest.mark.parametrize("route", [r for r in ROUTES if r.mixed], ids=name)
def test_a_limited_key_sees_nothing_of_the_others(guarded: Modelswap, route: Route) -> None:
    """A route that mixes all models refuses a key that may use only some."""
    assert asked(guarded, route, LIMITED) == 403


@pytest.mark.parametrize(
    "route",
    [r for r in ROUTES if r.model not in {ModelLocation.NONE, ModelLocation.COMFYUI}],
    ids=name,
)
def test_a_limited_key_uses_its_models_alone(
    guarded: Modelswap, peer: RecordingPeer, route: Route
) -> None:
    """Whatever the way to the model: the granted one is reached, the other is 403 and not asked."""
    before = len(peer.requests)
    assert asked(guarded, route, LIMITED, "withheld") == 403
    assert asked(guarded, route, LIMITED, "far/withheld") == 403
    assert len(peer.requests) == before
    assert asked(guarded, route, LIMITED, "granted") == 200
    assert len(peer.requests) == before + 1
    sent = {header.lower() for header, _ in peer.requests[-1].headers}
    assert not sent & {"authorization", "x-api-key"}


OPEN_TO_LIMITED_KEYS = (
    "GET /v1/models; GET /v1/models/; GET /models; GET /models/; GET /v1/models/{id...}; GET /running; "
    "POST /api/models/unload/{model...}; POST /api/models/load/{model...}; GET /upstream; ANY /upstream; "
    "GET /models/sse; POST /models/load; POST /models/unload; DELETE /models; GET /v1/health; "
    "GET /logs/stream/{id...}; GET /api/performance; GET /api/hardware; GET /api/version; "
    "GET /api/session; GET /health; GET /wol-health; GET /ready; GET /; GET /ui; GET /ui/{name...}; "
    "GET /favicon.ico"
)
"""Control rows that show and change nothing of other models, or check the key for each model."""


def test_every_control_row_is_classified() -> None:
    """A new control row refuses limited keys until it is listed as open to them."""
    for route in ROUTES:
        if route.model is ModelLocation.NONE and not route.mixed:
            assert name(route) in OPEN_TO_LIMITED_KEYS.split("; "), name(route)
        if route.changes:
            assert route.scope is KeyScope.ADMIN, name(route)
        if route.scope is None:
            assert not route.changes
            assert route.model is ModelLocation.NONE


SENSITIVE = {
    KeyScope.ADMIN: (
        "ANY /upstream/{path...}; GET /unload; POST /unload; POST /api/models/unload; "
        "POST /api/models/unload/{model...}; POST /api/models/load/{model...}; "
        "GET /api/captures/{id}; POST /api/inflight/{id}/cancel; PUT /api/profiles/active; "
        "POST /api/config/reload; POST /props; POST /lora-adapters; POST /slots/{rest...}; "
        "POST /models/load; POST /models/unload; POST /models; DELETE /models"
    ),
    KeyScope.READ: (
        "GET /slots; GET /logs; GET /log; GET /logs/stream; GET /logs/stream/{id...}; GET /api/events; "
        "GET /api/metrics/activity; GET /api/metrics/stats; GET /api/metrics/export; "
        "GET /api/inflight; GET /running; GET /metrics; GET /ui/{name...}; GET /api/config/status; "
        "GET /api/hardware; GET /api/performance; GET /api/profiles; "
        "GET /api/session; GET /api/version; GET /api/models/found; GET /api/plan; GET /api/decisions"
    ),
    None: (
        "GET /; GET /ui; GET /upstream; ANY /upstream; GET /favicon.ico; GET /health; "
        "GET /wol-health; GET /ready; GET /v1/health"
    ),
}


def test_the_scopes_are_these() -> None:
    """A second list of the scopes, so that no row changes its scope by accident."""
    found = {name(route): route.scope for route in ROUTES}
    for scope, rows in SENSITIVE.items():
        assert {row for row, has in found.items() if has is scope} == {*rows.split("; ")}


def test_unknown_paths_and_methods_need_no_key(guarded: Modelswap) -> None:
    """404 and 405 come without a key, as they show only what the documentation shows."""
    assert guarded.ask("GET", "/nothing/here").status == 404
    assert guarded.ask("DELETE", "/v1/models").status == 405


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": f"bearer {FULL}"}, 200),
        ({"Authorization": f"BEARER {FULL}"}, 200),
        ({"X-Api-Key": FULL}, 200),
        ({"Authorization": "Basic " + base64.b64encode(f"u:{FULL}".encode()).decode()}, 200),
        ({"Authorization": "Token x", "X-Api-Key": FULL}, 200),
        ({"Authorization": f"Bearer {FULL} "}, 200),
        ({"Authorization": f"Bearer {FULL}x"}, 401),
        ({"Authorization": f"Bearer {FULL[:-1]}"}, 401),
        ({"Authorization": f"Bearer {FULL.upper()}"}, 401),
        ({"Authorization": f"Bearer\t{FULL}"}, 401),
        ({"Authorization": "Bearer wrong", "X-Api-Key": FULL}, 200),
        ({"Authorization": "Bearer wrong", "Api-Key": FULL}, 200),
        ({"Proxy-Authorization": f"Bearer {FULL}"}, 401),
        ({"Authorization": "Bearer "}, 401),
        ({"Authorization": "Basic !!!"}, 401),
        ({"Authorization": FULL}, 401),
        ({"X-Api-Key": ""}, 401),
        ({"X-Api-Key": hashlib.sha256(INFERENCE.encode()).hexdigest()}, 401),
        ({"X-Api-Key": "sha256:" + hashlib.sha256(INFERENCE.encode()).hexdigest()}, 401),
        ({"Cookie": f"key={FULL}"}, 401),
    ],
)
def test_transports_of_a_key(serve: Serve, headers: dict[str, str], status: int) -> None:
    """llama-swap's forms and no other; a hash is no key."""
    digest = hashlib.sha256(INFERENCE.encode()).hexdigest()
    server = _KEPT.get("one") or serve(
        f'apiKeys: ["{FULL}", {{name: h, keyHash: "sha256:{digest}"}}]\nmodels: {{}}\n'
    )
    _KEPT["one"] = server
    answer = server.ask("GET", "/v1/models", headers=headers)
    # wrong keys of the other cases come from the same address: being slowed is no way in
    assert answer.status == status or (status == 401 and answer.status == 429)


_KEPT: dict[str, Modelswap] = {}


def test_guessing_is_slowed_and_a_known_client_is_not(serve: Serve) -> None:
    """After ten wrong keys further ones wait, with `Retry-After`; right ones enter, new ones too."""
    server = serve(f'apiKeys: ["{FULL}", other-key]\nmodels: {{}}\n')
    known = bearer(FULL)
    assert server.ask("GET", "/v1/models", headers=known).status == 200
    found = [server.ask("GET", "/v1/models", headers=bearer(f"guess-{n}")) for n in range(14)]
    assert [answer.status for answer in found[:11]] == [401] * 11
    assert found[-1].status == 429
    assert int(found[-1].headers["retry-after"]) >= 1
    assert server.ask("GET", "/v1/models", headers=known).status == 200
    assert server.ask("GET", "/v1/models", headers=bearer("other-key")).status == 200


def test_a_rate_limit_is_of_its_key_alone(serve: Serve) -> None:
    """The key over its rate gets 429 and when to come back; the others go on."""
    server = serve("apiKeys: [{name: slow, key: slow-key, rateLimit: 3}, other-key]\nmodels: {}\n")
    found = [server.ask("GET", "/v1/models", headers=bearer("slow-key")) for _ in range(5)]
    assert [answer.status for answer in found] == [200, 200, 200, 429, 429]
    assert int(found[-1].headers["retry-after"]) >= 1
    assert server.ask("GET", "/v1/models", headers=bearer("other-key")).status == 200


def test_a_key_that_is_taken_away_ends_on_open_connections_too(serve: Serve) -> None:
    """After a reload the next request on an open connection is checked against the new keys."""
    server = serve("apiKeys: [first-key, second-key]\nmodels: {}\n")
    body = b'{"model":"x"}'
    again = (
        b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer second-key\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    with dialled(server) as sock:
        for expected in (b" 404 ", b" 404 "):
            sock.sendall(again)
            assert expected in sock.recv(65536)
        server.write_config("apiKeys: [first-key]\nmodels: {}\n")
        assert server.ask("POST", "/api/config/reload", headers=bearer("first-key")).status == 200
        sock.sendall(again)
        assert b" 401 " in sock.recv(65536)


@pytest.mark.parametrize("rate", [0, -1, 1])
def test_an_odd_rate_is_no_crash(serve: Serve, rate: int) -> None:
    """No rate of a key causes a 500: it is a rate, or a problem reported at the start."""
    server = serve(
        f"apiKeys: [{{name: a, key: odd-key, rateLimit: {rate}}}]\nmodels: {{}}\n", start=False
    )
    process = server.spawn()
    wait_for(lambda: process.poll() is not None or is_serving(server))
    if process.poll() is None:
        found = {
            server.ask("GET", "/v1/models", headers=bearer("odd-key")).status for _ in range(3)
        }
        assert found <= {200, 429}
    else:
        assert "rateLimit" in server.log()
