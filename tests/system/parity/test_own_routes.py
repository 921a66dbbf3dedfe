"""Routes that llama-swap does not have."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from websockets.sync.client import connect

from support.streams import error_of, model, opened

if TYPE_CHECKING:
    from support.server import Modelswap
    from support.streams import Serve


@pytest.fixture(scope="module")
def server(serve: Serve) -> Modelswap:
    broken = "  broken: {cmd: 'sh -c \"exit 3\" --port ${PORT}'}\n"
    return serve(f"models:\n{model('a', aliases=['x/nick'])}{broken}")


def test_load(server: Modelswap) -> None:
    """`POST /api/models/load/<model>` answers when it is ready, or says why it is not."""
    answer = server.ask("POST", "/api/models/load/x/nick")
    assert (answer.status, answer.json()) == (200, {"msg": "ok"})
    assert server.running() == {"a": "ready"}
    failed = server.ask("POST", "/api/models/load/broken")
    assert (failed.status, error_of(failed)["code"]) == (503, "model_load_failed")
    assert server.ask("POST", "/api/models/load/nope").status == 404


def test_ready(server: Modelswap) -> None:
    """`/ready` says whether requests are accepted."""
    assert server.ask("GET", "/ready").body == b"OK"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/responses/r1"),
        ("DELETE", "/v1/responses/r1"),
        ("GET", "/v1/videos/v1/content"),
        ("DELETE", "/v1/videos/v1"),
    ],
)
def test_more_routes_by_query(server: Modelswap, method: str, path: str) -> None:
    """The model is in the query; the request arrives as it is."""
    found = server.ask(method, f"{path}?model=a").json()
    assert (found["method"], found["path"], found["query"]) == (method, path, "model=a")
    assert server.ask(method, path).status == 404


def test_realtime(server: Modelswap) -> None:
    """`/v1/realtime?model=…` is a web socket to the model."""
    with connect(f"ws://127.0.0.1:{server.port}/v1/realtime?model=a") as socket:
        socket.send("hello")
        assert socket.recv(timeout=30)


def test_lora_adapters_and_slots_of_a_running_model(server: Modelswap) -> None:
    """Polls reach a model that runs."""
    assert server.ask("POST", "/api/models/load/a").status == 200
    for path in ("/slots", "/lora-adapters"):
        assert server.ask("GET", f"{path}?model=a").json()["path"] == path


def test_export(server: Modelswap) -> None:
    """The rows to take away, as JSON, lines or CSV."""
    assert server.chat("a").status == 200
    found = server.ask("GET", "/api/metrics/export").json()
    assert found[-1]["model"] == "a"
    lines = server.ask("GET", "/api/metrics/export?format=jsonl").body.splitlines()
    assert [json.loads(line)["id"] for line in lines] == [row["id"] for row in found]
    table = server.ask("GET", "/api/metrics/export?format=csv").body.decode().splitlines()
    assert len(table) == len(found) + 1
    assert server.ask("GET", "/api/metrics/export?format=xml").status == 400


def test_running_requests(server: Modelswap) -> None:
    """`/api/inflight` lists what runs now."""
    body = {"model": "a", "stream": True, "n": 1000, "delay_ms": 20}
    with opened(server, "POST", "/v1/chat/completions", body) as stream:
        assert stream.read1(10)
        (entry,) = server.ask("GET", "/api/inflight").json()["requests"]
    assert (entry["model"], entry["req_path"]) == ("a", "/v1/chat/completions")


def test_the_state_of_the_configuration(server: Modelswap) -> None:
    """`/api/config/status` and a reload by request."""
    assert server.ask("GET", "/api/config/status").json()["ok"] is True
    answer = server.ask("POST", "/api/config/reload")
    assert (answer.status, answer.json()["problems"]) == (200, [])
