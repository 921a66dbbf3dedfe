"""Clients of llama.cpp's router, with a folder of models and the real engine."""

from __future__ import annotations

import json
import shutil
import threading
from typing import TYPE_CHECKING, Any

import pytest

from support.server import Modelswap, wait_until
from support.streams import opened, sse

if TYPE_CHECKING:
    from pathlib import Path

    from support.running import StartServer

CHAT = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}


@pytest.fixture
def folder(tmp_path: Path, weights: dict[str, Path]) -> Path:
    """A folder with two models that chat."""
    found = tmp_path / "models"
    found.mkdir()
    for name in ("red", "blue"):
        shutil.copy(weights[name], found / f"{name}-F16.gguf")
    return found


def listed(server: Modelswap, query: str = "") -> dict[str, Any]:
    return {r["id"]: r for r in server.ask("GET", f"/models{query}").json()["data"]}


def load(server: Modelswap, name: str) -> None:
    answer = server.ask("POST", "/models/load", {"model": name})
    assert (answer.status, answer.json()) == (200, {"success": True})
    wait_until(lambda: listed(server)[name]["status"]["value"] == "loaded", 120)


def read(server: Modelswap, events: list[dict[str, Any]], is_open: threading.Event) -> None:
    with opened(server, "GET", "/models/sse", seconds=60) as response:
        is_open.set()
        events += (json.loads(data) for data in sse(response))


def test_load_chat_and_unload(modelswap_server: StartServer, folder: Path) -> None:
    """Load, chat, embed the status in the list and in the events, unload: as its web page does it."""
    server = modelswap_server("", "--models-dir", str(folder))
    record = listed(server)["red:f16"]
    assert (record["source"], record["can_remove"]) == ("models_dir", False)
    assert record["path"] == str(folder / "red-F16.gguf")
    assert record["status"]["value"] == "unloaded"
    assert f"model = {record['path']}" in record["status"]["preset"].splitlines()
    assert record["path"] in record["status"]["args"]
    assert record["meta"]["size"] == (folder / "red-F16.gguf").stat().st_size
    events: list[dict[str, Any]] = []
    is_open = threading.Event()
    reader = threading.Thread(target=read, args=(server, events, is_open), daemon=True)
    reader.start()
    assert is_open.wait(30)
    load(server, "red:f16")
    tokens = server.ask("POST", "/tokenize", {"model": "red:f16", "content": "hello world"})
    assert tokens.json()["tokens"]
    chat = server.ask("POST", "/v1/chat/completions", {"model": "red:f16", **CHAT})
    assert chat.json()["choices"][0]["message"]["content"] is not None
    props = server.ask("GET", "/props?model=red:f16&autoload=false").json()
    assert props["default_generation_settings"]["n_ctx"]
    assert server.ask("POST", "/models/unload", {"model": "red:f16"}).json() == {"success": True}
    wait_until(lambda: listed(server)["red:f16"]["status"]["value"] == "unloaded")
    wait_until(lambda: events and events[-1]["data"].get("status") == "unloaded")
    told = [event["data"] for event in events]
    assert all(event["event"] == "model_status" for event in events)
    states = [data["status"] for data in told if "progress" not in data]
    assert states == ["loading", "loaded", "unloaded"]
    for progress in (data["progress"] for data in told if "progress" in data):
        assert progress["stages"] == ["text_model"]
        assert 0 <= progress["value"] <= 1


def test_a_stream_loads_its_model(modelswap_server: StartServer, folder: Path) -> None:
    """A stream of an unloaded model loads it; one of an unknown model is an error."""
    server = modelswap_server("", "--models-dir", str(folder))
    body = {"model": "blue:f16", "stream": True, **CHAT}
    with opened(server, "POST", "/chat/completions", body, seconds=60) as response:
        assert response.status == 200
        chunks = [json.loads(data) for data in sse(response) if data != "[DONE]"]
    assert chunks[-1]["choices"][0]["finish_reason"] in {"stop", "length"}
    answer = server.ask("POST", "/chat/completions", {**body, "model": "non-existent/model"})
    assert 400 <= answer.status < 500
    assert answer.json()["error"]["message"]


def test_without_autoload(modelswap_server: StartServer, folder: Path) -> None:
    """`--no-models-autoload`: a request is a 400 until the model is loaded by an order."""
    server = modelswap_server("", "--models-dir", str(folder), "--no-models-autoload")
    assert server.ask("GET", "/props").json()["models_autoload"] is False
    body = {"model": "red:f16", **CHAT}
    answer = server.ask("POST", "/v1/chat/completions", body)
    assert (answer.status, answer.json()["error"]["message"]) == (400, "model is not loaded")
    load(server, "red:f16")
    assert server.ask("POST", "/v1/chat/completions", body).status == 200


def test_reload_of_presets(
    modelswap_server: StartServer, tmp_path: Path, weights: dict[str, Path]
) -> None:
    """`?reload=1` reads the presets anew: one removed, one the same and still loaded, one added."""
    presets = tmp_path / "router.ini"

    def section(name: str, file: str) -> str:
        return f"[{name}]\nmodel = {weights[file]}\n\n"

    presets.write_text(section("one", "red") + section("two", "blue"))
    server = modelswap_server("", "--models-preset", str(presets))
    assert set(listed(server)) == {"one", "two"}
    load(server, "two")
    before = server.model_pids()
    presets.write_text(section("two", "blue") + section("three", "red"))
    found = listed(server, "?reload=1")
    assert set(found) == {"two", "three"}
    assert found["two"]["status"]["value"] == "loaded"
    assert found["two"]["source"] == "preset"
    assert server.model_pids() == before


def test_a_start_that_fails(
    modelswap_server: StartServer, tmp_path: Path, weights: dict[str, Path]
) -> None:
    """The reason is the engine's own, in the list, in the answer to a request, and in the log."""
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(weights["red"].read_bytes()[:4000])
    presets = tmp_path / "router.ini"
    presets.write_text(f"[cut]\nmodel = {cut}\n")
    server = modelswap_server("", "--models-preset", str(presets))
    assert server.ask("POST", "/models/load", {"model": "cut"}).status == 200
    wait_until(lambda: listed(server)["cut"]["status"].get("failed"), 60)
    status = listed(server)["cut"]["status"]
    assert status["value"] == "unloaded"
    assert status["exit_code"] != 0
    assert status["reason"]
    assert status["log"]
    answer = server.ask("POST", "/v1/chat/completions", {"model": "cut", **CHAT})
    assert answer.status == 503
    assert status["reason"].split("; its output: ")[-1] in answer.json()["error"]["message"]
    wait_until(lambda: status["reason"] in server.log())
