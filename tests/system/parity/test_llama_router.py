"""The API of llama.cpp's router: `/models` and what is below it, `?autoload=`, `/props`."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

from modelswap.procfs import HAS_PROC
from support.server import stub_command, wait_until
from support.streams import error_of, model, opened, sse

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.server import Answer, Modelswap
    from support.streams import Serve

BROKEN = (
    "  broken: {cmd: 'sh -c \"echo loading; echo no such tensor >&2; exit 3\" --port ${PORT}'}\n"
)


@pytest.fixture(scope="module")
def server(serve: Serve) -> Modelswap:
    return serve(f"models:\n{model('a', aliases=['x/nick'])}{model('b')}{BROKEN}")


@pytest.fixture(autouse=True)
def nothing_loaded(server: Modelswap) -> None:
    assert server.ask("POST", "/api/models/unload").status == 200


def order(server: Modelswap, what: str, name: str) -> Answer:
    return server.ask("POST", f"/models/{what}", {"model": name})


def listed(server: Modelswap, query: str = "") -> dict[str, Any]:
    return {r["id"]: r for r in server.ask("GET", f"/models{query}").json()["data"]}


def value(server: Modelswap, name: str) -> str:
    status: str = listed(server)[name]["status"]["value"]
    return status


def is_error(answer: Answer, status: int, kind: str, message: str) -> None:
    """The whole body is llama-server's error object."""
    assert (answer.status, answer.json()) == (
        status,
        {"error": {"code": status, "message": message, "type": kind}},
    )


INVALID = "invalid_request_error"


def test_load_and_unload(server: Modelswap) -> None:
    """Both answer at once; the list tells when it has happened."""
    answer = order(server, "load", "a")
    assert (answer.status, answer.json()) == (200, {"success": True})
    assert value(server, "a") in {"loading", "loaded"}
    is_error(order(server, "load", "a"), 400, INVALID, "model is already running")
    wait_until(lambda: value(server, "a") == "loaded")
    answer = order(server, "unload", "a")
    assert (answer.status, answer.json()) == (200, {"success": True})
    wait_until(lambda: value(server, "a") == "unloaded")
    is_error(order(server, "unload", "a"), 400, INVALID, "model is not running")


def test_an_alias_is_its_model(server: Modelswap) -> None:
    """`/models/load` takes an alias, too."""
    assert order(server, "load", "x/nick").status == 200
    wait_until(lambda: value(server, "a") == "loaded")


def test_an_order_that_is_refused_at_once(server: Modelswap) -> None:
    """A load that may move nothing is a 503 of the order itself, and the other model stays."""
    assert order(server, "load", "a").status == 200
    wait_until(lambda: value(server, "a") == "loaded")
    headers = {"X-Modelswap-No-Swap": "true"}
    answer = server.ask("POST", "/models/load", {"model": "b"}, headers=headers)
    assert (answer.status, error_of(answer)["code"]) == (503, "swap_refused")
    assert server.running() == {"a": "ready"}


def test_unknown_models(server: Modelswap) -> None:
    """As there: 404 for a load, 400 for an unload; a body without a model names none."""
    is_error(order(server, "load", "nope"), 404, "not_found_error", "model is not found")
    is_error(order(server, "unload", "nope"), 400, INVALID, "model is not found")
    is_error(server.ask("POST", "/models/load", {}), 404, "not_found_error", "model is not found")


@pytest.mark.parametrize("body", ["", "{", "[1]", '{"model": 5}', '{"model": null}', "\xff"])
def test_bad_bodies(server: Modelswap, body: str) -> None:
    """What is not an object with a name is a 400 that says so."""
    for path in ("/models/load", "/models/unload", "/models"):
        answer = server.ask("POST", path, body)
        assert answer.status == 400
        assert answer.json()["error"]["type"] == INVALID


def test_what_is_listed(server: Modelswap) -> None:
    """Beside llama-swap's fields those of the router; `/v1/models` stays as llama-swap's."""
    record = listed(server)["a"]
    assert record["aliases"] == ["x/nick"]
    assert (record["tags"], record["source"], record["can_remove"]) == ([], "preset", False)
    assert record["architecture"] == {"input_modalities": ["text"], "output_modalities": ["text"]}
    status = record["status"]
    assert status["value"] == "unloaded"
    assert "--port" in status["args"]
    assert status["preset"].startswith("[a]\n")
    plain = {r["id"]: r for r in server.ask("GET", "/v1/models").json()["data"]}["a"]
    assert plain["status"] == {"value": "unloaded"}
    assert "source" not in plain


def test_a_failed_load(server: Modelswap) -> None:
    """`unloaded`, `failed`, the exit code, the reason and the end of its output; an order tries again."""
    assert order(server, "load", "broken").json() == {"success": True}
    wait_until(lambda: listed(server)["broken"]["status"].get("failed"))
    status = listed(server)["broken"]["status"]
    assert (status["value"], status["exit_code"]) == ("unloaded", 3)
    assert "no such tensor" in status["reason"]
    assert [line.strip() for line in status["log"][-2:]] == ["loading", "no such tensor"]
    assert order(server, "load", "broken").json() == {"success": True}
    wait_until(lambda: listed(server)["broken"]["status"].get("failed"))


def test_pull_and_delete(server: Modelswap) -> None:
    """What would not be served is not downloaded, what is no part of the cache not deleted, and it is said so."""
    answer = server.ask("POST", "/models", {"model": "org/repo:q4"})
    assert (answer.status, answer.json()["error"]["type"]) == (400, INVALID)
    assert "discover.stores" in answer.json()["error"]["message"]
    is_error(
        server.ask("POST", "/models", {"model": "a"}), 400, INVALID, "model 'a' already exists"
    )
    for method, path in (("POST", "/models"), ("DELETE", "/models")):
        answer = server.ask(method, path, {} if method == "POST" else None)
        is_error(answer, 400, INVALID, "model must be a non-empty string")
    text = "model name=a is not removable (not from cache)"
    is_error(server.ask("DELETE", "/models?model=a"), 400, INVALID, text)
    text = "model name=nope is not found"
    is_error(server.ask("DELETE", "/models?model=nope"), 404, "not_found_error", text)


FORM = {"Content-Type": "application/x-www-form-urlencoded"}
ASKS = {
    "a body": lambda s, q: s.ask("POST", f"/v1/chat/completions{q}", {"model": "a"}),
    "a query": lambda s, q: s.ask("GET", f"/props{q}&model=a"),
    "a path": lambda s, q: s.ask("GET", f"/upstream/a/props{q}"),
    "a form": lambda s, q: s.ask("POST", f"/v1/audio/transcriptions{q}", "model=a", headers=FORM),
}


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
def test_a_request_may_ask_for_no_load(
    server: Modelswap, ask: Callable[[Modelswap, str], Answer]
) -> None:
    """`?autoload=false` is refused unless the model is loaded; `true` loads it."""
    is_error(ask(server, "?autoload=false"), 400, INVALID, "model is not loaded")
    assert server.running() == {}
    assert ask(server, "?autoload=true").status == 200
    assert ask(server, "?autoload=0").status == 200
    assert server.running() == {"a": "ready"}


def test_a_request_for_no_load_waits_for_one(serve: Serve) -> None:
    """A load that has begun is no load of its own."""
    server = serve(
        f"models:\n  slow: {{cmd: {json.dumps(stub_command('slow', '--ready-after', '1'))}}}\n"
    )
    assert order(server, "load", "slow").status == 200
    assert value(server, "slow") == "loading"
    assert (
        server.ask("POST", "/v1/chat/completions?autoload=false", {"model": "slow"}).status == 200
    )


def test_a_client_of_the_router_asks_for_an_unknown_model(server: Modelswap) -> None:
    """With `autoload` in its query it gets the router's error, else llama-swap's."""
    body = {"model": "nope"}
    answer = server.ask("POST", "/v1/chat/completions?autoload=true", body)
    is_error(answer, 400, INVALID, "model 'nope' not found")
    assert server.ask("POST", "/v1/chat/completions", body).status == 404


def test_props(server: Modelswap) -> None:
    """Without a model the program's own, with one its server's."""
    found = server.ask("GET", "/props").json()
    assert found["role"] == "router"
    assert (found["max_instances"], found["models_autoload"]) == (0, True)
    assert found["build_info"].startswith("b")
    of_model = server.ask("GET", "/props?model=a").json()
    assert "role" not in of_model
    assert server.running() == {"a": "ready"}


def test_metrics_of_a_model(server: Modelswap) -> None:
    """`/metrics?model=` is that of its server, and loads nothing; without a model it is ours."""
    assert server.ask("GET", "/metrics?model=a").status == 409
    assert server.ask("POST", "/api/models/load/a").status == 200
    assert server.ask("GET", "/metrics?model=a").json()["path"] == "/metrics"
    assert b"modelswap_build_info" in server.ask("GET", "/metrics").body


def test_health(server: Modelswap) -> None:
    """llama-server's readiness is asked at `/v1/health`, too."""
    assert server.ask("GET", "/v1/health").json() == {"status": "ok"}


class Reader(threading.Thread):
    """Reads `/models/sse` until it is stopped."""

    def __init__(self, server: Modelswap) -> None:
        super().__init__(daemon=True)
        self.events: list[dict[str, Any]] = []
        self._opened = opened(server, "GET", "/models/sse")
        self._response = self._opened.__enter__()
        assert self._response.status == 200
        assert self._response.getheader("content-type") == "text/event-stream"
        assert self._response.readline().startswith(b":")
        self.start()

    def run(self) -> None:
        self.events.extend(map(json.loads, sse(self._response)))

    def statuses(self, name: str) -> list[str]:
        return [
            event["data"]["status"]
            for event in self.events
            if event["model"] == name and "progress" not in event["data"]
        ]


def test_events(server: Modelswap) -> None:
    """A load, an unload and a failure are told, in order; nothing of before the subscription."""
    reader = Reader(server)
    assert order(server, "load", "a").status == 200
    wait_until(lambda: reader.statuses("a") == ["loading", "loaded"])
    assert order(server, "unload", "a").status == 200
    wait_until(lambda: reader.statuses("a") == ["loading", "loaded", "unloaded"])
    assert order(server, "load", "broken").status == 200
    wait_until(lambda: reader.statuses("broken") == ["loading", "unloaded"])
    last = reader.events[-1]
    assert (last["event"], last["data"]["exit_code"]) == ("model_status", 3)
    assert "no such tensor" in last["data"]["reason"]
    info = next(e["data"]["info"] for e in reader.events if "info" in e["data"])
    assert info["id"] == "a"


@pytest.mark.skipif(not HAS_PROC, reason="counts are read from /proc")
def test_progress_of_a_load(serve: Serve, tmp_path: Path) -> None:
    """While it loads, list and events say how much of its file the server has read or holds."""
    weights = tmp_path / "m.gguf"
    with weights.open("wb") as file:
        file.truncate(4 << 30)  # sparse: it takes no room
    stub = stub_command("big", "--ready-after", "3", "--memory", "200")
    command = f"sh -c 'exec {stub}' sh --model {weights}"
    server = serve(f"models:\n  big:\n    cmd: {json.dumps(command)}\n")
    reader = Reader(server)
    assert order(server, "load", "big").status == 200
    shown = wait_until(lambda: listed(server)["big"]["status"].get("progress"))
    assert (shown["stages"], shown["current"]) == (["text_model"], "text_model")
    wait_until(lambda: reader.statuses("big") == ["loading", "loaded"])
    told = [e["data"]["progress"] for e in reader.events if "progress" in e["data"]]
    assert told[-1]["value"] > 0.04, "200 MB of 4 GB"
    assert told[-1]["value"] < 0.2
    assert "progress" not in listed(server)["big"]["status"]


def test_reload(serve: Serve) -> None:
    """`?reload=1` reads the configuration anew, answers with the new list, and is told."""
    server = serve(f"models:\n{model('a')}")
    reader = Reader(server)
    server.write_config(f"models:\n{model('c')}")
    assert set(listed(server)) == {"a"}
    assert set(listed(server, "?reload=1")) == {"c"}
    wait_until(lambda: {"model": "*", "event": "models_reload"} in reader.events)
    headers = {"Origin": "https://elsewhere.example"}
    assert server.ask("GET", "/models?reload=1", headers=headers).status == 403
    server.write_config("models: 5\n")
    answer = server.ask("GET", "/models?reload=1")
    assert (answer.status, answer.json()["error"]["type"]) == (500, "server_error")
    assert "expected a mapping of ids to models" in answer.json()["error"]["message"]


def test_without_autoload(serve: Serve) -> None:
    """`modelsAutoload: false`: only orders load; a loaded model serves."""
    server = serve(f"modelsAutoload: false\nmodels:\n{model('a')}")
    assert server.ask("GET", "/props").json()["models_autoload"] is False
    is_error(server.chat("a"), 400, INVALID, "model is not loaded")
    assert server.chat("a", stream=True).status == 400
    assert order(server, "load", "a").status == 200
    wait_until(lambda: value(server, "a") == "loaded")
    assert server.chat("a").status == 200


def test_keys(serve: Serve) -> None:
    """Orders and reloads need `admin`; args and paths need `read`; a limited key sees its models."""
    server = serve(f"""
apiKeys:
  - {{name: boss, key: boss-key, scopes: [admin]}}
  - {{name: user, key: user-key, scopes: [inference]}}
  - {{name: some, key: some-key, models: [b]}}
models:
{model("a")}{model("b")}""")

    def ask(key: str, method: str, path: str, body: object = None) -> Answer:
        return server.ask(method, path, body, headers={"Authorization": f"Bearer {key}"})

    assert ask("user-key", "POST", "/models/load", {"model": "a"}).status == 403
    assert ask("user-key", "GET", "/models?reload=1").status == 403
    assert ask("some-key", "POST", "/models/load", {"model": "a"}).status == 403
    assert ask("some-key", "DELETE", "/models?model=a").status == 403
    (own,) = ask("some-key", "GET", "/models").json()["data"]
    assert own["id"] == "b"
    assert "args" not in ask("user-key", "GET", "/models").json()["data"][0]["status"]
    assert "args" in ask("boss-key", "GET", "/models").json()["data"][0]["status"]
    assert ask("boss-key", "POST", "/models/load", {"model": "a"}).status == 200
    assert server.ask("GET", "/models/sse").status == 401
    assert error_of(server.ask("POST", "/models/load", {"model": "a"}))["type"] == (
        "authentication_error"
    )
