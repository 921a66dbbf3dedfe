"""`X-Modelswap-No-Swap` and `apiKeys[].noSwap`: no model is evicted for such a request."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from support.server import wait_until
from support.streams import RecordingPeer, error_of, model

if TYPE_CHECKING:
    from support.server import Answer, Modelswap
    from support.streams import Serve

HEADER = {"X-Modelswap-No-Swap": "true"}
CHAT = "/v1/chat/completions"


def chat(server: Modelswap, name: str, headers: dict[str, str], **fields: Any) -> Answer:
    return server.ask("POST", CHAT, {"model": name, "messages": [], **fields}, headers)


def refused(answer: Answer, *names: str) -> None:
    """Return a 503 that names the model to be evicted and says that another try does not help."""
    assert answer.status == 503, answer.body
    error = error_of(answer)
    assert error["code"] == "swap_refused"
    assert f"{', '.join(names)} would have to leave" in error["message"]
    assert answer.headers["x-should-retry"] == "false"
    assert "retry-after" not in answer.headers


@pytest.fixture(scope="module")
def server(serve: Serve) -> Modelswap:
    models = model("a") + model("b") + model("alone") + model("limited", concurrencyLimit=1)
    groups = (
        "groups: {one: {members: [a, b, limited]}, two: {members: [alone], exclusive: false}}\n"
    )
    return serve(f"{groups}models:\n{models}")


@pytest.fixture(autouse=True)
def _empty(request: pytest.FixtureRequest) -> None:
    if "server" in request.fixturenames:
        request.getfixturevalue("server").ask("POST", "/api/models/unload")


@pytest.mark.parametrize("value", ["true", "1", "YES", " on "])
def test_the_header(server: Modelswap, value: str) -> None:
    """A load without an eviction goes on; one that would evict a model is refused."""
    headers = {"x-modelswap-no-swap": value}
    assert chat(server, "a", headers).status == 200
    assert chat(server, "alone", headers).status == 200
    refused(chat(server, "b", headers), "a", "alone")
    assert server.running() == {"a": "ready", "alone": "ready"}
    assert chat(server, "a", headers).status == 200


@pytest.mark.parametrize("value", ["false", "0", "", "no"])
def test_other_values_of_the_header(server: Modelswap, value: str) -> None:
    """Any other value swaps as always."""
    assert server.chat("a").status == 200
    assert chat(server, "b", {"X-Modelswap-No-Swap": value}).status == 200


def test_every_way_to_a_model(server: Modelswap) -> None:
    """Below `/upstream`, in forms, streams and by the load call."""
    assert server.chat("a").status == 200
    refused(server.ask("GET", "/upstream/b/", headers=HEADER), "a")
    refused(server.ask("GET", "/upstream/b/health", headers=HEADER), "a")
    refused(chat(server, "b", HEADER, stream=True), "a")
    form = {**HEADER, "Content-Type": "application/x-www-form-urlencoded"}
    refused(server.ask("POST", "/v1/audio/transcriptions", "model=b", form), "a")
    answer = server.ask("POST", "/api/models/load/b", headers=HEADER)
    assert (answer.status, error_of(answer)["code"]) == (503, "swap_refused")
    assert server.running() == {"a": "ready"}


def test_busy_and_starting_models_stay(server: Modelswap) -> None:
    """It is refused at once instead of after the running request; other requests wait."""
    with ThreadPoolExecutor() as pool:
        running = pool.submit(server.chat, "a", delay_ms=600)
        wait_until(lambda: server.running() == {"a": "ready"})
        refused(chat(server, "b", HEADER), "a")
        assert not running.done()
        other = pool.submit(server.chat, "b")
        assert (running.result().status, other.result().status) == (200, 200)


def test_refused_from_the_queue(server: Modelswap) -> None:
    """A request queued for a ready model is refused when that model is evicted for another."""
    with ThreadPoolExecutor() as pool:
        running = pool.submit(server.chat, "limited", delay_ms=600)
        wait_until(lambda: server.running() == {"limited": "ready"})
        other = pool.submit(server.chat, "a")
        wait_until(lambda: len(server.ask("GET", "/api/inflight").json()["requests"]) == 2)
        assert (running.result().status, other.result().status) == (200, 200)
        refused(chat(server, "limited", HEADER), "a")


def test_the_backend_does_not_see_the_header(server: Modelswap) -> None:
    """The header is for this program only."""
    echoed = server.ask("GET", "/upstream/a/anything", headers=HEADER).json()
    assert "x-modelswap-no-swap" not in {name.lower() for name, _ in echoed["headers"]}


KEYED = f"""
apiKeys:
  - {{name: checker, key: health-key-1, noSwap: true}}
  - {{name: narrow, key: narrow-key-1, noSwap: true, models: [b]}}
  - user-key-1
models:
{model("a")}
{model("b")}
"""


def test_a_key_with_no_swap(serve: Serve) -> None:
    """Whatever a health checker requests, it swaps nothing; a key for some models reads no other's name."""
    server = serve(KEYED)

    def ask(key: str, name: str, headers: dict[str, str] | None = None) -> Answer:
        return chat(server, name, {"Authorization": f"Bearer {key}", **(headers or {})})

    assert ask("user-key-1", "a").status == 200
    assert ask("health-key-1", "a").status == 200
    refused(ask("health-key-1", "b"), "a")
    refused(ask("health-key-1", "b", {"X-Modelswap-No-Swap": "false"}), "a")
    answer = ask("narrow-key-1", "b")
    refused(answer, "another model")
    assert ask("user-key-1", "b").status == 200


def test_peers_get_the_header(serve: Serve) -> None:
    """The guarantee holds across peers: they get the header, whether the client or its key set it."""
    with RecordingPeer() as peer:
        keys = "apiKeys: [{key: health-key-1, noSwap: true}]\n"
        server = serve(f"{keys}peers: {{p: {{proxy: '{peer.url}', models: [m]}}}}\n")
        assert chat(server, "m", {"Authorization": "Bearer health-key-1"}).status == 200
        assert peer.last.header("X-Modelswap-No-Swap") == "true"
