"""What llama.cpp tests of its router (tools/server/tests/unit/test_router.py), against this program.

The scenarios are those of its suite, with the real engine and models in a folder instead of its cache. Not
here: downloads, which have tests of their own, and presets of a remote repository, which do not exist here.
"""

from __future__ import annotations

import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from support.server import wait_until
from support.streams import model, opened, sse

if TYPE_CHECKING:
    from pathlib import Path

    from support.running import StartServer
    from support.server import Answer, Modelswap

A, B, C = "red:f16", "blue:f16", "green:f16"
CHAT = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}


@pytest.fixture
def folder(tmp_path: Path, weights: dict[str, Path]) -> Path:
    """A folder with three models that chat."""
    found = tmp_path / "models"
    found.mkdir()
    for name, source in (("red", "red"), ("blue", "blue"), ("green", "red")):
        shutil.copy(weights[source], found / f"{name}-F16.gguf")
    return found


def status(server: Modelswap, name: str) -> dict[str, Any]:
    records = server.ask("GET", "/models").json()["data"]
    found: dict[str, Any] = next(r["status"] for r in records if r["id"] == name)
    return found


def is_loaded(server: Modelswap, name: str) -> bool:
    return bool(status(server, name)["value"] == "loaded")


def load(server: Modelswap, name: str) -> None:
    answer = server.ask("POST", "/models/load", {"model": name})
    assert (answer.status, answer.json()) == (200, {"success": True})
    wait_until(lambda: is_loaded(server, name), 120)


def tokenize(server: Modelswap, name: str) -> Answer:
    return server.ask("POST", "/tokenize", {"model": name, "content": "hello world"}, seconds=120)


def slow_chat(server: Modelswap, name: str) -> dict[str, Any]:
    """A request that keeps a model busy for a while."""
    body = {"model": name, **CHAT, "max_tokens": 400, "ignore_eos": True}
    answer = server.ask("POST", "/v1/chat/completions", body, seconds=120)
    assert answer.status == 200, answer.body
    found: dict[str, Any] = answer.json()
    return found


def wait_for_work(server: Modelswap, name: str) -> None:
    def works() -> bool:
        running = server.ask("GET", "/running").json()["running"]
        return any(m["model"] == name and m["in_flight"] for m in running)

    wait_until(works, 60)


def test_props(modelswap_server: StartServer, folder: Path) -> None:
    """The number of models and whether they are loaded by requests are those of the command line."""
    server = modelswap_server(
        "", "--models-dir", str(folder), "--models-max", "2", "--no-models-autoload"
    )
    props = server.ask("GET", "/props").json()
    assert (props["role"], props["max_instances"], props["models_autoload"]) == ("router", 2, False)
    assert props["build_info"].startswith("b")


def test_the_least_recently_used_leaves(modelswap_server: StartServer, folder: Path) -> None:
    """With room for two, the third load evicts the first; the plan says so before, the decision after."""
    server = modelswap_server("", "--models-dir", str(folder), "--models-max", "2")
    load(server, A)
    load(server, B)
    assert is_loaded(server, A)
    why = f"at most 2 models may be loaded, and {A} was used the longest ago"
    told = server.ask("GET", f"/api/plan?model={C}").json()
    assert [one["model"] for one in told["evictions"]] == [A]
    assert why in told["text"]
    load(server, C)
    assert [is_loaded(server, name) for name in (A, B, C)] == [False, True, True]
    (newest,) = server.ask("GET", "/api/decisions?limit=1").json()["data"]
    assert (newest["model"], newest["why"]) == (C, why)


def test_the_number_in_the_configuration(modelswap_server: StartServer, folder: Path) -> None:
    """`modelsMax` says the same; 0 on the command line takes the bound away."""
    config = f"modelsMax: 1\ndiscover: {json.dumps(str(folder))}\n"
    server = modelswap_server(config)
    assert server.ask("GET", "/props").json()["max_instances"] == 1
    load(server, A)
    load(server, B)
    assert not is_loaded(server, A)
    other = modelswap_server(config, "--models-max", "0")
    for name in (A, B, C):
        load(other, name)
    assert all(is_loaded(other, name) for name in (A, B, C))


def test_a_busy_model_is_not_evicted(modelswap_server: StartServer, folder: Path) -> None:
    """A request that finds no free place waits; the one that runs gets its whole answer."""
    server = modelswap_server("", "--models-dir", str(folder), "--models-max", "1")
    load(server, A)
    with ThreadPoolExecutor() as pool:
        busy = pool.submit(slow_chat, server, A)
        wait_for_work(server, A)
        queued = pool.submit(tokenize, server, B)
        assert busy.result(120)["usage"]["completion_tokens"] == 400
        assert queued.result(120).status == 200
    wait_until(lambda: is_loaded(server, B), 60)
    assert status(server, A)["value"] == "unloaded"


def test_requests_for_one_model_share_a_place(modelswap_server: StartServer, folder: Path) -> None:
    """Three requests for a missing model evict one idle model, and the busy one stays."""
    server = modelswap_server("", "--models-dir", str(folder), "--models-max", "2")
    load(server, A)
    load(server, B)
    with ThreadPoolExecutor() as pool:
        busy = pool.submit(slow_chat, server, A)
        wait_for_work(server, A)
        waiters = [pool.submit(tokenize, server, C) for _ in range(3)]
        assert [waiter.result(120).status for waiter in waiters] == [200, 200, 200]
        assert busy.result(120)
    assert [is_loaded(server, name) for name in (A, B, C)] == [True, False, True]


def test_a_client_that_leaves_costs_no_model(modelswap_server: StartServer, tmp_path: Path) -> None:
    """Who gives up while it waits evicts nobody; the stub's answer goes on for as long as the test wants."""
    server = modelswap_server(f"modelsMax: 1\nmodels:\n{model('a')}{model('b')}")
    held = {"model": "a", "messages": [], "stream": True, "until": str(tmp_path / "go on")}
    with opened(server, "POST", "/v1/chat/completions", held) as response:
        stream = sse(response)
        next(stream)
        impatient = opened(server, "POST", "/tokenize", {"model": "b", "content": "x"}, seconds=0.3)
        with pytest.raises(TimeoutError), impatient:
            pass
        wait_until(lambda: '"POST /tokenize' in server.log())  # it has left
        (tmp_path / "go on").touch()
        assert [*stream][-1] == "[DONE]"
    assert is_loaded(server, "a")
    assert status(server, "b")["value"] == "unloaded"


def test_two_that_want_one_place(modelswap_server: StartServer, folder: Path) -> None:
    """Both are served in the end, one after the other."""
    server = modelswap_server("", "--models-dir", str(folder), "--models-max", "1")
    load(server, A)
    with ThreadPoolExecutor() as pool:
        answers = [pool.submit(tokenize, server, name) for name in (B, C)]
        assert [answer.result(120).status for answer in answers] == [200, 200]
    assert status(server, A)["value"] == "unloaded"


def test_a_stopping_model_gets_no_request(modelswap_server: StartServer, folder: Path) -> None:
    """A request right behind an unload waits, and loads the model anew."""
    server = modelswap_server("", "--models-dir", str(folder), "--models-max", "1")
    load(server, A)
    assert server.ask("POST", "/models/unload", {"model": A}).json() == {"success": True}
    assert tokenize(server, A).status == 200


def test_no_autoload(modelswap_server: StartServer, folder: Path) -> None:
    """A request is refused until its model was loaded by an order."""
    server = modelswap_server("", "--models-dir", str(folder), "--no-models-autoload")
    refused = server.ask("POST", "/v1/chat/completions", {"model": A, **CHAT})
    assert refused.status == 400
    assert refused.json()["error"]["message"] == "model is not loaded"
    load(server, A)
    assert server.ask("POST", "/v1/chat/completions", {"model": A, **CHAT}).status == 200


def test_streams_and_unknown_models(modelswap_server: StartServer, folder: Path) -> None:
    """A stream has content and ends with a reason; an unknown model is an error before any content."""
    server = modelswap_server("", "--models-dir", str(folder))
    body = {"model": A, **CHAT, "stream": True}
    with opened(server, "POST", "/chat/completions", body, seconds=120) as response:
        events = [json.loads(data) for data in sse(response) if data != "[DONE]"]
    choices = [event["choices"][0] for event in events if event["choices"]]
    assert "".join(choice["delta"].get("content") or "" for choice in choices)
    assert choices[-1]["finish_reason"] in {"stop", "length"}
    missing = server.ask("POST", "/chat/completions", {**body, "model": "non-existent/model"})
    assert missing.status == 404


def test_an_api_key(modelswap_server: StartServer, folder: Path) -> None:
    """Without the key 401 and an `authentication_error`; with it loads and chats."""
    config = f"discover: {json.dumps(str(folder))}\napiKeys: [sk-router-secret]\n"
    server = modelswap_server(config)
    denied = server.ask("POST", "/v1/chat/completions", {"model": A, **CHAT})
    assert (denied.status, denied.json()["error"]["type"]) == (401, "authentication_error")
    key = {"Authorization": "Bearer sk-router-secret"}
    assert server.ask("POST", "/models/load", {"model": A}, key).json() == {"success": True}
    allowed = server.ask("POST", "/v1/chat/completions", {"model": A, **CHAT}, key, seconds=120)
    assert allowed.status == 200


def test_presets_are_read_anew(modelswap_server: StartServer, folder: Path, tmp_path: Path) -> None:
    """`?reload=1` takes removed and added sections, and what is loaded and did not change stays."""
    preset = tmp_path / "presets.ini"
    sections = {
        name: f"[{name}]\nmodel = {folder}/{name}-F16.gguf\n" for name in ("red", "blue", "green")
    }
    preset.write_text(sections["red"] + sections["blue"])
    server = modelswap_server("", "--models-preset", str(preset))
    ids = {r["id"] for r in server.ask("GET", "/models").json()["data"]}
    assert {"red", "blue"} <= ids
    load(server, "blue")
    preset.write_text(sections["blue"] + sections["green"])
    ids = {r["id"] for r in server.ask("GET", "/models?reload=1").json()["data"]}
    assert "red" not in ids
    assert {"blue", "green"} <= ids
    assert is_loaded(server, "blue")


def test_a_model_that_cannot_start(modelswap_server: StartServer, folder: Path) -> None:
    """Its status says that it failed, with exit code, reason and the last lines of its server."""
    bad = folder / "bad.sh"
    bad.write_text("echo looking for the model; echo 'error: no such tensor' >&2; exit 7\n")
    config = f"models:\n  bad:\n    cmd: sh {bad} --port ${{PORT}}\n"
    server = modelswap_server(config)
    events: list[dict[str, Any]] = []
    is_open = threading.Event()

    def read() -> None:
        with opened(server, "GET", "/models/sse", seconds=60) as response:
            is_open.set()
            events.extend(json.loads(data) for data in sse(response))

    threading.Thread(target=read, daemon=True).start()
    assert is_open.wait(30)
    server.ask("POST", "/models/load", {"model": "bad"})
    wait_until(lambda: status(server, "bad").get("failed"), 60)
    found = status(server, "bad")
    assert (found["value"], found["exit_code"]) == ("unloaded", 7)
    assert found["log"] == ["looking for the model", "error: no such tensor"]
    wait_until(lambda: any(event["data"].get("failed") for event in events), 30)
    answer = server.ask("POST", "/v1/chat/completions", {"model": "bad", **CHAT})
    assert answer.json()["error"]["details"]["log"] == found["log"]
