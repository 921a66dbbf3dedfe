"""Selectors, profiles' pins, the earliest profiles, and peers: which model a name means."""

from __future__ import annotations

import http.client
import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from support.server import wait_until
from support.streams import NO_MODEL, NO_ROUTER, error_of, model, rows

if TYPE_CHECKING:
    from support.server import Modelswap
    from support.streams import RecordingPeer, Serve


def config(peer: RecordingPeer) -> str:
    return f"""
apiKeys: [client-key]
groups: {{all: {{swap: false, exclusive: false, members: [a, b, c]}}}}
models:
{model("a", aliases=["nick"])}
{model("b")}
{model("c", filters={"setParamsByID": {"c:low": {"effort": "low"}}})}
{model("x/y")}
selectors:
  spill: {{strategy: spillover, targets: [a, b], settings: {{spillover: 2}}}}
  warm: {{strategy: warm, targets: [a, b]}}
  fixed: {{strategy: pin, targets: ["c:low", a]}}
  away: {{strategy: pin, targets: [far/m1]}}
profiles:
  work:
    pins: {{llm: a, img: "", chosen: fixed, remote: far/m1, b: c, x: b, x/y/z: a}}
  other:
    pins: {{only: a}}
peers:
  far:
    proxy: {peer.url}/base
    apiKey: peer-key
    models: [m1, both, a]
    filters: {{stripParams: top_k, setParams: {{seed: 7}}}}
  open:
    proxy: {peer.url}
    models: [m2, both]
  trusting:
    proxy: {peer.url}
    models: [m3]
    forwardAuthorization: true
"""


KEY = {"Authorization": "Bearer client-key"}


@pytest.fixture(scope="module")
def server(serve: Serve, peer: RecordingPeer) -> Modelswap:
    return serve(config(peer))


def post(server: Modelswap, name: str, /, path: str = "/v1/rerank", **fields: object) -> Any:
    return server.ask("POST", path, {"model": name, **fields}, KEY)


def seen(answer: Any) -> Any:
    """The JSON body that the stub got."""
    assert answer.status == 200, answer.body
    return json.loads(answer.json()["body"])


def activate(server: Modelswap, name: str | None) -> None:
    answer = server.ask("PUT", "/api/profiles/active", json.dumps({"name": name}), KEY)
    assert answer.status == 200


def running(server: Modelswap) -> set[str]:
    found = server.ask("GET", "/running", headers=KEY).json()["running"]
    return {row["model"] for row in found}


def unload(server: Modelswap) -> None:
    assert server.ask("POST", "/api/models/unload", headers=KEY).status == 200


def activity(server: Modelswap, count: int = 1) -> list[dict[str, Any]]:
    answer = server.ask("GET", f"/api/metrics/activity?limit={count}", headers=KEY)
    found = answer.json()["data"]
    assert isinstance(found, list)
    return found


# Selectors


def test_pin_takes_its_first_target(server: Modelswap) -> None:
    """`pin`: the first target, spelled as configured, with that alias's parameters."""
    assert seen(post(server, "fixed")) == {"model": "c:low", "effort": "low"}
    (row,) = activity(server)
    assert row["model"] == "c"
    assert row["metadata"] == {"fifo_priority": "0", "selector": "fixed"}


def test_warm_prefers_what_runs(server: Modelswap) -> None:
    """`warm`: a ready target, else the first."""
    unload(server)
    assert seen(post(server, "b"))["model"] == "b"
    assert seen(post(server, "warm"))["model"] == "b"
    unload(server)
    assert seen(post(server, "warm"))["model"] == "a"


def test_spillover(server: Modelswap) -> None:
    """Spillover 2, six overlapping requests → a a b b a b."""
    unload(server)
    chosen = []
    with ThreadPoolExecutor(6) as pool:
        waiting = []
        for number in range(6):
            waiting.append(pool.submit(post, server, "spill", tag=number, delay_ms=1200))
            wait_until(lambda expected=number + 1: in_flight(server) == expected)
        chosen = [seen(w.result())["model"] for w in waiting]
    assert chosen == ["a", "a", "b", "b", "a", "b"]


def in_flight(server: Modelswap) -> int:
    return len(server.ask("GET", "/api/inflight", headers=KEY).json()["requests"])


def test_a_selector_may_target_a_peer(server: Modelswap, peer: RecordingPeer) -> None:
    """A selector's target may be a peer's model; the peer gets its own name for it."""
    assert post(server, "away").status == 200
    assert json.loads(peer.last.body)["model"] == "m1"


def test_selectors_in_queries(server: Modelswap) -> None:
    """GET: the query is written anew, keys in order."""
    answer = server.ask("GET", "/sdapi/v1/loras?z=1&model=fixed&b=2", headers=KEY)
    assert answer.json()["query"] == "b=2&model=c%3Alow&z=1"


def test_selectors_are_not_known_below_upstream(server: Modelswap) -> None:
    """§16, 11: `/upstream/<selector>/` is a 404."""
    answer = server.ask("GET", "/upstream/fixed/x", headers=KEY)
    assert (answer.status, error_of(answer)["message"]) == (404, "model not found")


# Profiles


def test_pins(server: Modelswap) -> None:
    """A pin rewrites the name, may shadow a model, lead to a selector or a peer, or be off."""
    assert post(server, "llm").status == 404
    activate(server, "work")
    try:
        assert seen(post(server, "llm"))["model"] == "a"
        assert seen(post(server, "b"))["model"] == "c"
        assert seen(post(server, "chosen"))["model"] == "c:low"
        assert post(server, "remote").json() == {"heard": "/base/v1/rerank"}
        off = post(server, "img")
        assert (off.status, error_of(off)["message"]) == (404, NO_MODEL)
        assert post(server, "only").status == 404
    finally:
        activate(server, None)
    assert seen(post(server, "b"))["model"] == "b"


def test_pins_count_on_a_kept_connection(server: Modelswap) -> None:
    """The same request on the same connection follows the active profile."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)

    def asked() -> list[str]:
        found = []
        for name in ("b", "c", "b"):
            body = json.dumps({"model": name})
            connection.request(
                "POST", "/v1/rerank", body, {"Content-Type": "application/json", **KEY}
            )
            reply = connection.getresponse()
            found.append(json.loads(json.loads(reply.read())["body"])["model"])
        return found

    assert asked() == asked() == ["b", "c", "b"]
    activate(server, "work")
    try:
        assert asked() == ["c", "c", "c"]
    finally:
        activate(server, None)
    assert asked() == ["b", "c", "b"]
    connection.close()


def test_pins_in_paths(server: Modelswap) -> None:
    """`/upstream/<pin>/…`: the longest pin; one that is off is not found; selectors are not."""
    activate(server, "work")
    try:
        upstream = {
            path: server.ask("GET", f"/upstream/{path}", headers=KEY)
            for path in ("llm/echo", "img/echo", "chosen/echo", "x/y/z/echo", "x/echo")
        }
    finally:
        activate(server, None)
    assert upstream["llm/echo"].json()["path"] == "/echo"
    assert upstream["x/y/z/echo"].json()["path"] == "/echo"
    assert upstream["x/echo"].json()["path"] == "/echo"
    for name in ("img/echo", "chosen/echo"):
        answer = upstream[name]
        assert (answer.status, error_of(answer)["message"]) == (404, "model not found")


# Peers


def test_a_qualified_peer(server: Modelswap, peer: RecordingPeer) -> None:
    """§16, 19: bare name, the peer's key, its host, its base path, filters, nothing forwarded."""
    headers = {
        **KEY,
        "X-Api-Key": "client-key",
        "X-Forwarded-For": "1.2.3.4",
        "X-Forwarded-Host": "h",
        "X-Forwarded-Proto": "https",
        "Forwarded": "for=1.2.3.4",
        "X-Custom": "1",
        "Content-Type": "application/json",
    }
    body = {"model": "far/m1", "top_k": 5, "z": 1}
    assert server.ask("POST", "/v1/rerank?q=1", body, headers).status == 200
    received = peer.last
    assert received.target == "/base/v1/rerank?q=1"
    assert json.loads(received.body) == {"model": "m1", "z": 1, "seed": 7}
    assert received.header("Authorization") == "Bearer peer-key"
    assert received.header("X-Api-Key") == "peer-key"
    assert received.header("Host") == peer.authority
    assert received.header("X-Custom") == "1"
    for gone in ("X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded"):
        assert received.header(gone) is None, gone
    (row,) = activity(server)
    assert (row["model"], row["resp_status_code"]) == ("far/m1", 200)
    assert "metadata" not in row


def test_a_bare_peer(server: Modelswap, peer: RecordingPeer) -> None:
    """The bare name works when one peer has it; the client's key is not passed on."""
    assert post(server, "m2").status == 200
    assert json.loads(peer.last.body)["model"] == "m2"
    assert peer.last.header("Authorization") is None
    assert peer.last.header("X-Api-Key") is None


def test_a_trusted_peer_gets_the_client_s_key(server: Modelswap, peer: RecordingPeer) -> None:
    """Better: only with `forwardAuthorization`."""
    assert post(server, "trusting/m3").status == 200
    assert peer.last.header("Authorization") == "Bearer client-key"


def test_an_ambiguous_peer(server: Modelswap) -> None:
    """§16, 19a: a bare name that two peers have is unknown."""
    answer = post(server, "both")
    assert answer.status == 404
    assert error_of(answer)["message"].startswith(NO_ROUTER)
    assert post(server, "open/both").status == 200


def test_local_models_win(server: Modelswap, peer: RecordingPeer) -> None:
    """A local id wins over a peer's bare one; the qualified one is the peer's."""
    before = len(peer.requests)
    assert seen(post(server, "a"))["model"] == "a"
    assert len(peer.requests) == before
    assert post(server, "far/a").status == 200
    assert len(peer.requests) == before + 1


def test_peers_below_upstream(server: Modelswap, peer: RecordingPeer) -> None:
    """`/upstream/<peer>/<model>/…`: raw path kept, the qualified name in a body made bare."""
    answer = server.ask("POST", "/upstream/far/m1/v1/a%2Fb?x=1", {"model": "far/m1"}, KEY)
    assert answer.status == 200
    assert peer.last.target == "/base/v1/a%2Fb?x=1"
    assert json.loads(peer.last.body) == {"model": "m1"}
    assert server.ask("GET", "/upstream/m2/x?model=m2", headers=KEY).status == 200
    assert peer.last.target == "/x?model=m2"


def test_peers_in_forms_and_queries(server: Modelswap, peer: RecordingPeer) -> None:
    """The qualified name becomes the bare one wherever it was."""
    form = {**KEY, "Content-Type": "application/x-www-form-urlencoded"}
    assert server.ask("POST", "/v1/rerank", "q=1&model=far%2Fm1", form).status == 200
    assert peer.last.body == b"q=1&model=m1"
    assert server.ask("GET", "/v1/audio/voices?model=far/m1", headers=KEY).status == 200
    assert peer.last.target == "/base/v1/audio/voices?model=m1"


def test_an_unreachable_peer(serve: Serve) -> None:
    """A peer that cannot be reached: 502 in the envelope, and a row."""
    server = serve("peers: {gone: {proxy: 'http://127.0.0.1:9', models: [m]}}\n")
    answer = server.chat("gone/m")
    assert (answer.status, error_of(answer)["code"]) == (502, "bad_gateway")
    assert rows(server)[0]["resp_status_code"] == 502


# The profiles of the earliest releases


LEGACY = f"""
models:
{model("a", aliases=["nick"])}
{model("b", useModelName="real-b")}
{model("c")}
profiles:
  coding: [a, b, unknown]
"""


@pytest.fixture(scope="module")
def legacy(serve: Serve) -> Modelswap:
    return serve(LEGACY)


def test_a_list_of_models_runs_together(legacy: Modelswap) -> None:
    """`coding:a` and `coding:b` run side by side; a plain name of another model ends that."""
    for name in ("coding:a", "coding:b"):
        assert legacy.chat(name).status == 200
    assert set(legacy.running()) == {"a", "b"}
    assert legacy.chat("c").status == 200
    assert set(legacy.running()) == {"c"}


def test_the_part_after_the_colon_is_forwarded(legacy: Modelswap) -> None:
    """The model server gets the name without its profile, or `useModelName`."""
    for name, forwarded in (("coding:nick", "nick"), ("coding:b", "real-b"), ("coding/a", "a")):
        answer = legacy.ask("POST", "/v1/rerank", {"model": name})
        assert json.loads(answer.json()["body"]) == {"model": forwarded}


@pytest.mark.parametrize("name", ["coding:c", "nope:a", "coding:zzz"])
def test_not_in_the_profile(legacy: Modelswap, name: str) -> None:
    """404: unknown profile, unknown model, model not in it."""
    assert legacy.chat(name).status == 404
