"""From start to stop: TTL, unloading, preload, limits, failures, and what a waiting client gets."""

from __future__ import annotations

import http.client
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from support.raw_http import dialled, post
from support.server import wait_until
from support.streams import error_of, events_of, model, opened, rows, sse

if TYPE_CHECKING:
    from support.server import Modelswap
    from support.streams import Serve

CONFIG = f"""
globalTTL: 1
unloadTimeout: 300
groups: {{all: {{swap: false, members: [short, never, slow, told, limited, deaf, broken, absent, empty, early]}}}}
models:
{model("short")}
{model("never", ttl=0)}
{model("slow", "--ready-after", "1.5", ttl=1)}
{model("told", "--ready-after", "0.6", sendLoadingState=True, ttl=0)}
{model("limited", concurrencyLimit=1, ttl=0, aliases=["lim"])}
{model("deaf", "--deaf", unloadTimeout=1, ttl=0)}
{model("early", "--ready-after", "30", ttl=0)}
  broken: {{cmd: "sh -c 'exit 3' --port ${{PORT}} --secret-flag hunter2", sendLoadingState: true}}
  absent: {{cmd: "/no/such/program --port ${{PORT}} --secret-flag hunter2"}}
  empty: {{cmd: "", proxy: "http://127.0.0.1:9"}}
"""


@pytest.fixture(scope="module")
def server(serve: Serve) -> Modelswap:
    return serve(CONFIG)


def in_flight(server: Modelswap) -> list[dict[str, Any]]:
    found = server.ask("GET", "/api/inflight").json()["requests"]
    assert isinstance(found, list)
    return found


# TTL


def test_ttl(server: Modelswap) -> None:
    """A model stops after its TTL (here the global one) and polls do not keep it; `ttl: 0` stays."""
    begun = time.monotonic()
    for name in ("short", "never"):
        assert server.chat(name).status == 200

    def gone() -> bool:
        server.ask("GET", "/v1/models")
        server.ask("GET", "/upstream/short/health")
        return "short" not in server.running()

    wait_until(gone)
    assert time.monotonic() - begun > 0.9
    assert "never" in server.running()


def test_ttl_counts_from_the_end(server: Modelswap) -> None:
    """A request that takes longer than the TTL is finished; the clock starts at its end."""
    begun = time.monotonic()
    answer = server.chat("short", delay_ms=1600)
    assert answer.status == 200
    wait_until(lambda: "short" not in server.running())
    assert time.monotonic() - begun > 2.5  # 1.6 s of the request and 1 s of TTL


def test_an_abandoned_load_is_given_its_ttl(server: Modelswap) -> None:
    """Better: the TTL of a model whose client disconnected counts from ready."""
    with dialled(server) as sock:
        sock.sendall(post("/v1/chat/completions", b'{"model": "slow"}'))
        wait_until(lambda: server.running().get("slow") == "starting")
    seen: list[str] = ["starting"]

    def over() -> bool:
        state = server.running().get("slow", "")
        if not seen or seen[-1] != state:
            seen.append(state)
        return seen[-1] == "" and len(seen) > 1

    wait_until(over)
    assert seen[:2] == ["starting", "ready"]


# Unloading


def test_the_forms_of_unload(server: Modelswap) -> None:
    """Each way to unload, its response, and that the model has stopped when it comes."""
    for method, path, body in (
        ("GET", "/unload", b"OK"),
        ("POST", "/unload", b"OK"),
        ("POST", "/api/models/unload", b'{"msg":"ok"}\n'),
        ("POST", "/api/models/unload/lim", b"OK"),
        ("POST", "/api/models/unload/limited", b"OK"),
        ("POST", "/api/models/unload/limited?force=true", b"OK"),
    ):
        assert server.chat("limited").status == 200
        answer = server.ask(method, path)
        assert (answer.status, answer.body) == (200, body)
        assert "limited" not in server.running()
    assert server.ask("POST", "/api/models/unload/limited").body == b"OK"


@pytest.mark.parametrize("name", ["nope", "", "a/b"])
def test_unload_of_nothing(server: Modelswap, name: str) -> None:
    """404 `model not found`."""
    answer = server.ask("POST", f"/api/models/unload/{name}")
    assert (answer.status, error_of(answer)["message"]) == (404, "model not found")


def test_unload_timeout(server: Modelswap) -> None:
    """A server that ignores SIGTERM is killed after `unloadTimeout`; no other request waits for that."""
    assert server.chat("deaf").status == 200
    with ThreadPoolExecutor(1) as pool:
        begun = time.monotonic()
        stopping = pool.submit(server.ask, "POST", "/api/models/unload/deaf", seconds=50)
        wait_until(lambda: server.running().get("deaf") == "stopping")
        listed = server.ask("GET", "/v1/models").json()["data"]
        assert next(r for r in listed if r["id"] == "deaf")["status"] == {"value": "loaded"}
        assert server.chat("short").status == 200
        assert not stopping.done()
        assert stopping.result().status == 200
        assert (
            time.monotonic() - begun > 0.9
        )  # its own `unloadTimeout`; the global one is longer than the test


def test_a_waiting_request_of_an_unloaded_model(server: Modelswap) -> None:
    """Better: 503 with a code instead of a 500 without; the load is ended."""
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(server.chat, "early")
        wait_until(lambda: server.running().get("early") == "starting")
        assert server.ask("POST", "/api/models/unload/early").status == 200
        answer = waiting.result()
    assert (answer.status, error_of(answer)["code"]) == (503, "model_unloaded")
    assert "retry-after" in answer.headers
    assert "early" not in server.running()


def test_running_requests_and_unload(server: Modelswap) -> None:
    """Better: they get until `unloadTimeout` to finish; `force` cuts them at once, visibly."""
    body = {"model": "never", "stream": True, "n": 25, "delay_ms": 25}
    with (
        opened(server, "POST", "/v1/chat/completions", body) as stream,
        ThreadPoolExecutor(1) as pool,
    ):
        assert stream.read1(10)
        unloading = pool.submit(server.ask, "POST", "/api/models/unload/never")
        assert stream.read().endswith(b"data: [DONE]\n\n")
        assert unloading.result().status == 200
    with opened(server, "POST", "/v1/chat/completions", {**body, "n": 1000}) as stream:
        assert stream.read1(10)
        assert server.ask("POST", "/api/models/unload/never?force=true").status == 200
        with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
            stream.read()


def test_unload_during_a_pending_swap(serve: Serve) -> None:
    """Better: a model unloaded while it waits for another to stop is not loaded afterwards."""
    server = serve(f"models:\n{model('leaving', '--stop-takes', '0.8')}{model('next')}")
    assert server.chat("leaving").status == 200
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(server.chat, "next")
        wait_until(lambda: server.running().get("leaving") == "stopping")
        assert server.ask("POST", "/api/models/unload/next").status == 200
        assert waiting.result().status == 503
    wait_until(lambda: "leaving" not in server.running())
    with pytest.raises(AssertionError, match="not within"):
        wait_until(server.running, seconds=0.5)


# Preload


def test_preload(serve: Serve) -> None:
    """Preloaded models are running after the start: aliases resolved, unknown names dropped."""
    text = "hooks: {on_startup: {preload: [' a ', nick, nope, '']}}\n"
    config = (
        f"groups: {{g: {{swap: false, members: [a, b]}}}}\nmodels:\n"
        f"{model('a')}{model('b', aliases=['nick'])}{model('c')}"
    )
    server = serve(text + config)
    wait_until(lambda: server.running() == {"a": "ready", "b": "ready"})
    assert rows(server) == []


# Limits


def test_the_concurrency_limit(server: Modelswap) -> None:
    """§16, 12: 429, always JSON, `Retry-After: 1`; a row is left."""
    assert server.chat("limited").status == 200
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(server.chat, "limited", delay_ms=400)
        wait_until(lambda: len(in_flight(server)) == 1)
        headers = {"Accept": "text/plain"}
        refused = server.ask("POST", "/v1/chat/completions", {"model": "limited"}, headers)
        assert first.result().status == 200
    assert (refused.status, refused.headers["retry-after"]) == (429, "1")
    assert refused.headers["content-type"] == "application/json"
    assert refused.json() == {
        "src": "llama-swap",
        "error": {
            "message": "Too many requests",
            "type": "rate_limit_error",
            "param": None,
            "code": "concurrency_limit",
        },
    }
    found = {row["resp_status_code"]: row for row in rows(server, "?limit=2")}
    assert found[429]["error_msg"] == "Too many requests"
    assert "metadata" not in found[429]


def test_no_limit_unless_set(server: Modelswap) -> None:
    """Better: more than ten requests at once for a cold model are all served."""
    server.ask("POST", "/api/models/unload/never")
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: server.chat("never", delay_ms=50), range(20)))
    assert {answer.status for answer in answers} == {200}


# Failures


@pytest.mark.parametrize("name", ["broken", "absent", "empty"])
def test_a_model_that_does_not_start(server: Modelswap, name: str) -> None:
    """Better: 503, a code, Retry-After, and no command line."""
    answer = server.chat(name)
    assert (answer.status, error_of(answer)["code"]) == (503, "model_load_failed")
    assert int(answer.headers["retry-after"]) >= 1
    assert b"hunter2" not in answer.body
    row = rows(server, "?limit=1")[0]
    assert (row["model"], row["resp_status_code"]) == (name, 503)
    assert name not in server.running()


def test_a_failure_is_shown_with_the_model(serve: Serve) -> None:
    """Better: `modelStatus` says why the last start failed, until the model is ready or unloaded."""
    server = serve(f"models:\n{model('a')}  bad: {{cmd: 'false --port ${{PORT}}'}}\n")
    assert server.chat("bad").status == 503
    with opened(server, "GET", "/api/events") as stream:
        shown = (failures(what) for kind, what in events_of(stream) if kind == "modelStatus")
        assert next(shown) == {"bad": "exited with code 1"}
        server.ask("POST", "/api/models/unload")
        assert next(shown) == {}


def failures(status: list[dict[str, Any]]) -> dict[str, str]:
    return {row["id"]: row["failure"] for row in status if "failure" in row}


# Loading state


def loading(server: Modelswap, name: str, path: str = "/v1/chat/completions") -> list[Any]:
    """The events of one streamed request, decoded where they are JSON."""
    body = {"model": name, "messages": [], "stream": True}
    with opened(server, "POST", path, body) as answer:
        assert (answer.status, answer.getheader("Content-Type")) == (200, "text/event-stream")
        assert answer.getheader("Cache-Control") == "no-cache"
        return [json.loads(data) if data[0] == "{" else data for data in sse(answer)]


def thoughts(events: list[Any]) -> str:
    deltas = [e["choices"][0]["delta"] for e in events if isinstance(e, dict) and e.get("choices")]
    return "".join(delta.get("reasoning_content", "") for delta in deltas)


def test_the_loading_state(server: Modelswap) -> None:
    """The headers and the first lines come at once; valid chunks; then the real response."""
    server.ask("POST", "/api/models/unload/told")
    body = {"model": "told", "messages": [], "stream": True}
    with opened(server, "POST", "/v1/chat/completions", body) as answer:
        assert server.running()["told"] == "starting"
        events: list[Any] = [json.loads(d) if d[0] == "{" else d for d in sse(answer)]
    said = thoughts(events)
    assert said.startswith("\u2501" * 5 + "\n")
    assert "loading model: told\n" in said
    assert "Done! (" in said
    assert said.endswith("\u2501" * 5 + "\n \n")
    for event in events[:-1]:
        assert event["object"] == "chat.completion.chunk"
        assert {"id", "created", "model", "choices"} <= set(event)
    assert events[-1] == "[DONE]"
    assert any(e["choices"] and e["choices"][0]["delta"].get("content") for e in events[:-1])


def test_the_queue_position(serve: Serve) -> None:
    """A request that waits for another model's requests gets its position."""
    server = serve(f"sendLoadingState: true\nmodels:\n{model('busy')}{model('next')}")
    assert server.chat("busy").status == 200
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(server.chat, "busy", delay_ms=1800)
        wait_until(lambda: len(in_flight(server)) == 1)
        said = thoughts(loading(server, "next"))
        assert first.result().status == 200
    assert "Queue position: #1" in said


def test_no_loading_state_when_it_runs(server: Modelswap) -> None:
    """A ready model answers as it is, and so do paths and requests that do not ask for it."""
    assert server.chat("told").status == 200
    assert thoughts(loading(server, "told")) == ""
    server.ask("POST", "/api/models/unload/told")
    answer = server.chat("told")
    assert answer.json()["object"] == "chat.completion"
    server.ask("POST", "/api/models/unload/told")
    assert thoughts(loading(server, "told", "/v/chat/completions")) == ""


def test_a_failure_after_the_loading_state(server: Modelswap) -> None:
    """Better: §16, 16 — the error is an SSE event, not raw text; no "Done!"."""
    wait_until(lambda: server.chat("broken").headers.get("retry-after"))
    events = loading_of_broken(server)
    assert events[-1]["error"]["code"] == "model_load_failed"
    assert "Done!" not in thoughts(events[:-1])
    row = rows(server, "?limit=1")[0]
    assert row["resp_status_code"] == 503


def loading_of_broken(server: Modelswap) -> list[Any]:
    """Ask until the back-off is over and the load is really tried."""
    found: list[list[Any]] = []

    def tried() -> bool:
        body = {"model": "broken", "messages": [], "stream": True}
        with opened(server, "POST", "/v1/chat/completions", body) as answer:
            if answer.status != 200:
                return False
            found.append([json.loads(data) for data in sse(answer)])
            return True

    wait_until(tried)
    return found[0]
