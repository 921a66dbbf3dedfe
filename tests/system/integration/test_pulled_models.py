"""Models that are pulled when they are asked for: the real program, a stand-in of the hub."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support.file_server import breaks, refuses, stalls
from support.hub import Hub
from support.load_clients import OpenStream
from support.page_cache import drive_out, resident
from support.pulling import gguf, home_with
from support.server import STUB, Modelswap, command, stub_command, stub_config, wait_until
from support.streams import opened, sse

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from support.running import StartServer
    from support.server import Answer

FILE = "Foo-Q4_K_M.gguf"
REPOSITORY = "owner/Foo-GGUF"
NAME = f"{REPOSITORY}:Q4_K_M"
SOURCE = f"hf:{NAME}"
HALF = 200_000
"""Bytes of the file, about."""
CHAT = {"model": "a", "messages": [{"role": "user", "content": "hi"}]}


class Huge(bytes):
    """Bytes that claim to be far more than any disk holds."""

    __slots__ = ()

    def __len__(self) -> int:
        return 1 << 60


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A hub with one model of some hundred kilobytes."""
    with Hub() as found:
        data = gguf(tmp_path / "made.gguf", 2 * HALF)
        found.add(REPOSITORY, {FILE: data, "README.md": b"hello"})
        yield found


@pytest.fixture
def env(hub: Hub, tmp_path: Path) -> dict[str, str]:
    return home_with(hub, tmp_path / "home")


def configured(more: str = "", *, name: str = "a", source: str = SOURCE) -> str:
    """A model that is pulled; its server says the path of its file, and another model beside it."""
    return (
        f"{more}\nmodels:\n"
        f"  {name}:\n    source: {source}\n"
        f"    cmd: {sys.executable} -I -S {STUB} --port ${{PORT}} --name ${{MODEL_PATH}}\n"
        f"  b:\n    cmd: {stub_command('b')}\n"
    )


def snapshot_file(env: dict[str, str], hub: Hub) -> str:
    """Where the cache has the model's file."""
    commit = hub.repositories[REPOSITORY].commit
    folder = f"{env['HF_HOME']}/hub/models--{REPOSITORY.replace('/', '--')}"
    return f"{folder}/snapshots/{commit}/{FILE}"


def status(server: Modelswap, model: str = "a") -> dict[str, Any]:
    found: dict[str, Any]
    for record in server.ask("GET", "/models").json()["data"]:
        if record["id"] == model:
            found = record["status"]
            return found
    return {"value": "not listed"}


def is_downloading(server: Modelswap, model: str = "a") -> bool:
    return bool(status(server, model)["value"] == "downloading")


def error_of(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.json()["error"]["code"]


@contextmanager
def stalled_pull(server: Modelswap, hub: Hub, count: int = 1) -> Iterator[list[Future[Answer]]]:
    """Requests that wait for a download of which half has come; it goes on when the test says so."""
    hub.fail("/storage", stalls(HALF))
    with ThreadPoolExecutor(count) as pool:
        answers = [pool.submit(server.chat, "a", seconds=60) for _ in range(count)]
        try:
            assert hub.stalled.wait(30)
            wait_until(lambda: f'modelswap_queue_length{{model="a"}} {count}.0' in metrics(server))
            wait_until(lambda: is_downloading(server))
            yield answers
        finally:
            hub.go_on.set()


def test_a_request_waits_for_its_model(
    modelswap_server: StartServer, hub: Hub, env: dict[str, str]
) -> None:
    """Nothing is here at first; a plain request is answered, by a server that got the pulled file."""
    server = modelswap_server(configured(), env=env)
    assert status(server)["value"] == "unloaded"
    answer = server.chat("a", seconds=60)
    assert answer.status == 200
    assert snapshot_file(env, hub) in answer.body.decode()
    assert snapshot_file(env, hub) in server.ask("GET", "/running").body.decode()
    assert f"pulled {SOURCE}" in server.log()
    text = server.ask("GET", "/metrics").body.decode()
    assert 'modelswap_pulls_total{result="finished"} 1.0' in text
    size = len(hub.repositories[REPOSITORY].files[FILE])
    assert f"modelswap_pulled_bytes_total {float(size)}" in text
    server.stop()
    server.start()
    hub.asked.clear()
    assert server.chat("a", seconds=60).status == 200
    assert hub.asked == []  # what is here is not asked for again


def test_the_default_command_and_the_real_engine(
    modelswap_server: StartServer, hub: Hub, env: dict[str, str], weights: dict[str, Path]
) -> None:
    """A source alone is enough: the model is started as a found one, and says what its header says."""
    hub.add(REPOSITORY, {FILE: weights["red"].read_bytes()})
    text = f"models:\n  tiny:\n    source: {SOURCE}\n"
    server = modelswap_server(text, env=env)
    answer = server.chat("tiny", seconds=120, max_tokens=4)
    assert answer.status == 200
    assert answer.json()["choices"][0]["message"]["role"] == "assistant"
    record = next(r for r in server.ask("GET", "/models").json()["data"] if r["id"] == "tiny")
    assert (record["source"], record["can_remove"], record["model"]) == ("cache", True, NAME)
    assert record["context_length"] > 0
    assert record["meta"]["llamaswap"]["found"]["architecture"] == "llama"
    # When its files are gone the first start says so, and the next request pulls them again.
    server.ask("POST", "/api/models/unload/tiny")
    shutil.rmtree(hub_cache(env))
    assert error_of(server.chat("tiny", seconds=120)) == (503, "model_load_failed")
    wait_until(lambda: "/snapshots/" not in " ".join(status(server, "tiny")["args"]))
    assert server.chat("tiny", seconds=120, max_tokens=4).status == 200


def test_a_repository_of_a_preset(
    modelswap_server: StartServer, hub: Hub, env: dict[str, str], tmp_path: Path
) -> None:
    """A section with `hf-repo` is pulled as a model with a source is; a reload keeps it."""
    preset = tmp_path / "router.ini"
    preset.write_text(f"[far]\nhf-repo = {NAME}\n")
    command = f"{sys.executable} -I -S {STUB} --port ${{PORT}} --name ${{MODEL_PATH}}"
    config = f"discover: {{templates: [{{cmd: {json.dumps(command)}}}]}}"
    server = modelswap_server(config, "--models-preset", str(preset), env=env)
    assert server.chat("far", seconds=60).json()["model"] == snapshot_file(env, hub)
    assert hub.downloads(FILE)
    server.ask("GET", "/models?reload=1")
    assert server.running() == {"far": "ready"}


def test_a_pull_evicts_nothing_and_is_shared(
    modelswap_server: StartServer, hub: Hub, env: dict[str, str]
) -> None:
    """Many requests pull once; the model that is loaded serves until the files are here."""
    server = modelswap_server(configured(), env=env)
    assert server.chat("b").status == 200
    with stalled_pull(server, hub, 3) as answers:
        assert server.running() == {"b": "ready"}
        assert server.chat("b").status == 200
        hub.go_on.set()
        assert [one.result().status for one in answers] == [200, 200, 200]
        # The broken connection was gone on with where it broke.
        assert [one.start for one in hub.downloads(FILE)][1:] == [hub.downloads(FILE)[0].sent]
        assert server.running() == {"a": "ready"}


def test_a_plain_client_is_told_to_ask_again(
    modelswap_server: StartServer, hub: Hub, env: dict[str, str]
) -> None:
    """After `pull.wait` it gets 503 with a time; the pull goes on, and its next request is served."""
    server = modelswap_server(configured("pull: {wait: 200ms}"), env=env)
    hub.fail("/storage", stalls(HALF))
    answer = server.chat("a")
    assert error_of(answer) == (503, "model_pulling")
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert answer.headers["x-should-retry"] == "true"
    assert f"pulling {SOURCE}" in answer.json()["error"]["message"]
    timeout = {"X-Stainless-Timeout": "0.4"}
    answer = server.ask("POST", "/v1/chat/completions", CHAT, timeout)
    assert error_of(answer) == (503, "model_pulling")
    hub.go_on.set()
    wait_until(lambda: status(server)["value"] == "unloaded")
    assert server.chat("a").status == 200
    assert len([one for one in hub.downloads(FILE) if not one.start]) == 1


def test_a_stream_is_kept_alive_and_told(
    modelswap_server: StartServer, hub: Hub, env: dict[str, str]
) -> None:
    """A streaming client waits as long as it takes; with `sendLoadingState` it reads how far the pull is."""
    more = "sendLoadingState: true\npull: {wait: 200ms}"
    server = modelswap_server(configured(more), env=env)
    hub.fail("/storage", stalls(HALF))
    with opened(
        server, "POST", "/v1/chat/completions", CHAT | {"stream": True}, seconds=60
    ) as response:
        events = sse(response)
        told = ""
        while " %, " not in told:
            told += _reasoning(next(events))
        assert f"pulling {SOURCE} … " in told
        hub.go_on.set()
        rest = list(events)
    assert rest[-1] == "[DONE]"
    assert any('"content"' in one for one in rest)


def _reasoning(event: str) -> str:
    delta = json.loads(event)["choices"][0]["delta"]
    return str(delta.get("reasoning_content") or "")


def test_a_gated_repository(modelswap_server: StartServer, hub: Hub, env: dict[str, str]) -> None:
    """The error says which token is missing; the hub is not asked for each request, an order asks at once."""
    hub.add(REPOSITORY, hub.repositories[REPOSITORY].files, gated=True, allowed="hf_right")
    server = modelswap_server(configured(), env=env)
    answer = server.chat("a")
    assert error_of(answer) == (503, "pull_failed")
    assert "token_missing" in answer.json()["error"]["message"]
    assert "HF_TOKEN" in answer.json()["error"]["message"]
    assert int(answer.headers["retry-after"]) > 1
    assert answer.headers["x-should-retry"] == "false"
    asked = len(hub.asked)
    assert error_of(server.chat("a")) == (503, "pull_failed")
    assert len(hub.asked) == asked
    found = status(server)
    assert (found["value"], found["failed"], found["class"]) == ("unloaded", True, "pull_failed")
    failed = server.ask("GET", "/running").json()["failed"]
    assert failed[0]["class"] == "pull_failed"
    assert server.ask("POST", "/api/models/load/a").status == 503
    assert len(hub.asked) > asked


def plan(server: Modelswap, model: str = "a") -> dict[str, Any]:
    found: dict[str, Any] = server.ask("GET", f"/api/plan?model={model}").json()
    return found


def test_a_plan_of_a_model_without_files(
    modelswap_server: StartServer, hub: Hub, env: dict[str, str]
) -> None:
    """It names the pull that comes first, how it stands, or why there is none; and what follows."""
    hub.add(REPOSITORY, hub.repositories[REPOSITORY].files, gated=True, allowed="hf_right")
    server = modelswap_server(configured(), env=env)
    before = plan(server)
    assert (before["verdict"], before["pull"]) == ("pull", None)
    assert before["text"].startswith(
        f"The files of a are not here: {SOURCE} would be pulled first. Then a would start at once"
    )
    assert hub.asked == []
    assert error_of(server.chat("a")) == (503, "pull_failed")
    refused = plan(server)
    assert (refused["verdict"], refused["refused"]["reason"]) == ("refuse", "pull_failed")
    assert 0 < refused["refused"]["retry_after_s"] <= 30
    assert refused["text"].startswith("a would be refused: its last pull failed, and it may be ")
    assert "HF_TOKEN" in refused["text"]
    hub.add(REPOSITORY, hub.repositories[REPOSITORY].files)
    hub.fail("/storage", stalls(HALF))
    assert server.ask("POST", "/models/load", {"model": "a"}).status == 200
    assert hub.stalled.wait(30)
    wait_until(lambda: plan(server).get("pull"))
    during = plan(server)
    assert (during["verdict"], during["pull"]["source"]) == ("pull", SOURCE)
    assert during["text"].startswith(f"a waits for its files: pulling {SOURCE} … ")
    hub.go_on.set()
    wait_until(lambda: plan(server)["verdict"] == "serve", 60)


def test_what_the_hub_does_not_have(modelswap_server: StartServer, env: dict[str, str]) -> None:
    """A quantization that is not there: the error says what there is."""
    server = modelswap_server(configured(source=f"hf:{REPOSITORY}:Q8_0"), env=env)
    answer = server.chat("a")
    assert error_of(answer) == (503, "pull_failed")
    assert "Q4_K_M" in answer.json()["error"]["message"]


def test_a_full_disk(modelswap_server: StartServer, hub: Hub, env: dict[str, str]) -> None:
    """It is said before anything is downloaded."""
    data = Huge(hub.repositories[REPOSITORY].files[FILE])
    hub.repositories[REPOSITORY].files[FILE] = data
    server = modelswap_server(configured(), env=env)
    answer = server.chat("a")
    assert error_of(answer) == (503, "pull_failed")
    assert "disk_full" in answer.json()["error"]["message"]
    assert hub.downloads(FILE) == []


def test_a_connection_that_breaks(
    modelswap_server: StartServer, hub: Hub, env: dict[str, str]
) -> None:
    """The download goes on where it was, and the request knows nothing of it."""
    hub.fail("/storage", breaks(HALF))
    hub.fail("/storage", refuses(503))
    server = modelswap_server(configured(), env=env)
    assert server.chat("a", seconds=60).status == 200
    assert [one.start > 0 for one in hub.downloads(FILE)][-1]


def test_a_stall_is_said(modelswap_server: StartServer, hub: Hub, env: dict[str, str]) -> None:
    """When nothing comes for a while the log says so; the pull goes on."""
    server = modelswap_server(configured("pull: {wait: 1h}"), env=env)
    with stalled_pull(server, hub) as answers:
        wait_until(lambda: "has stalled" in server.log(), 60)
        assert is_downloading(server)
        hub.go_on.set()
        assert answers[0].result().status == 200


def test_a_cancel(modelswap_server: StartServer, hub: Hub, env: dict[str, str]) -> None:
    """`/models/unload` ends a download and what waits for it; the next one goes on from what came."""
    server = modelswap_server(configured(), env=env)
    with stalled_pull(server, hub) as answers:
        answer = server.ask("POST", "/models/unload", {"model": "a"})
        assert (answer.status, answer.json()) == (200, {"success": True})
        refused = answers[0].result()
        assert error_of(refused) == (503, "pull_cancelled")
        assert refused.headers["x-should-retry"] == "false"
        assert status(server)["value"] == "unloaded"
        assert server.ask("POST", "/models/unload", {"model": "a"}).status == 400
        hub.go_on.set()
        assert server.chat("a", seconds=60).status == 200
        assert hub.downloads(FILE)[-1].start > 0


def test_a_client_that_leaves(modelswap_server: StartServer, hub: Hub, env: dict[str, str]) -> None:
    """The pull goes on without it; no server is started for nobody."""
    server = modelswap_server(configured(), env=env)
    hub.fail("/storage", stalls(HALF))
    with OpenStream(server, "a"):
        assert hub.stalled.wait(30)
    wait_until(lambda: 'modelswap_queue_length{model="a"} 0.0' in metrics(server))
    hub.go_on.set()
    wait_until(lambda: f"pulled {SOURCE}" in server.log())
    wait_until(lambda: "/snapshots/" in " ".join(status(server)["args"]))
    assert server.running() == {}


def metrics(server: Modelswap) -> str:
    return server.ask("GET", "/metrics").body.decode()


def test_a_reload_meanwhile(modelswap_server: StartServer, hub: Hub, env: dict[str, str]) -> None:
    """Neither a reload nor a file that is broken at the end of the pull disturbs what waits or runs."""
    server = modelswap_server(configured(), env=env)
    assert server.chat("b").status == 200
    pid = server.ask("GET", "/running").json()["running"][0]["pid"]
    with stalled_pull(server, hub) as answers:
        server.write_config(server.config_text.replace("source:", "description: new\n    source:"))
        assert server.ask("POST", "/api/config/reload").status == 200
        assert is_downloading(server)
        assert server.ask("GET", "/running").json()["running"][0]["pid"] == pid
        server.config_file.write_text("models: [")
        assert server.ask("POST", "/api/config/reload").status == 409
        hub.go_on.set()
        assert answers[0].result().status == 200


def test_a_model_that_is_removed_meanwhile(
    modelswap_server: StartServer, hub: Hub, env: dict[str, str]
) -> None:
    """Its requests get 404, and the download ends."""
    server = modelswap_server(configured(), env=env)
    with stalled_pull(server, hub) as answers:
        server.write_config(stub_config("b"))
        assert server.ask("POST", "/api/config/reload").status == 200
        assert answers[0].result().status == 404
        wait_until(lambda: f"the pull of {SOURCE} was cancelled" in server.log())


def test_a_hand_over_meanwhile(
    modelswap_server: StartServer, hub: Hub, env: dict[str, str]
) -> None:
    """The new front goes on with the download, and the request of the old one is served."""
    server = modelswap_server(configured(), env=env)
    with stalled_pull(server, hub) as answers:
        os.kill(server.pid, signal.SIGUSR2)
        wait_until(lambda: "handed over to pid" in server.log())
        assert answers[0].result().status == 200
        assert hub.downloads(FILE)[-1].start > 0
        wait_until(lambda: server.process is not None and server.process.poll() is not None)
        assert server.chat("a").status == 200
        pid = int(server.log().split("handed over to pid ")[1].split(";")[0])
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not server.processes())


def test_a_shutdown_meanwhile(modelswap_server: StartServer, hub: Hub, env: dict[str, str]) -> None:
    """It ends at once and well; what came is gone on with at the next start."""
    server = modelswap_server(configured("shutdownTimeout: 1h"), env=env)
    with stalled_pull(server, hub) as answers:
        assert server.stop() == 0
        assert answers[0].result().status == 503
        server.start()
        assert server.chat("a", seconds=60).status == 200
        assert hub.downloads(FILE)[-1].start > 0


def test_pulled_at_the_start(modelswap_server: StartServer, hub: Hub, env: dict[str, str]) -> None:
    """`pull.onStart` pulls without a request, and a preload waits for its files."""
    more = "pull: {onStart: true}\nhooks: {on_startup: {preload: [a]}}"
    server = modelswap_server(configured(more), env=env)
    wait_until(lambda: server.running() == {"a": "ready"}, 60)
    assert hub.downloads(FILE)


def test_warmed_at_the_start(modelswap_server: StartServer, hub: Hub, env: dict[str, str]) -> None:
    """`pull.warm` reads the files that are here into the page cache, as a pull does those that came."""
    assert modelswap_server(configured(), env=env).chat("a", seconds=60).status == 200
    file = Path(snapshot_file(env, hub))
    drive_out(file)
    modelswap_server(configured("pull: {warm: true}"), env=env)
    wait_until(lambda: resident(file) >= file.stat().st_size, 60)


def test_the_router_s_orders(modelswap_server: StartServer, hub: Hub, env: dict[str, str]) -> None:
    """`POST /models` pulls what becomes a found model; the events tell it; `DELETE` removes its files."""
    server = modelswap_server(f"discover: {{stores: [huggingface]}}\n{stub_config('b')}", env=env)
    (hub_cache(env)).mkdir(parents=True)
    events: list[dict[str, Any]] = []
    is_open = threading.Event()

    def read() -> None:
        with opened(server, "GET", "/models/sse", seconds=60) as response:
            is_open.set()
            events.extend(map(json.loads, sse(response)))

    reader = threading.Thread(target=read)
    reader.start()
    assert is_open.wait(30)
    hub.fail("/storage", stalls(HALF))
    answer = server.ask("POST", "/models", {"model": NAME})
    assert (answer.status, answer.json()) == (200, {"success": True})
    assert hub.stalled.wait(30)
    wait_until(lambda: status(server, NAME).get("progress"))
    progress = status(server, NAME)["progress"][FILE]
    assert 0 < progress["done"] < progress["total"]
    hub.go_on.set()
    wait_until(
        lambda: "foo:q4_k_m" in {r["id"] for r in server.ask("GET", "/models").json()["data"]}
    )
    record = next(r for r in server.ask("GET", "/models").json()["data"] if r["id"] == "foo:q4_k_m")
    assert (record["model"], record["source"], record["can_remove"]) == (NAME, "cache", True)
    again = server.ask("POST", "/models", {"model": NAME})
    assert (again.status, again.json()["error"]["message"]) == (
        400,
        f"model '{NAME}' already exists",
    )
    removed = server.ask("DELETE", f"/models?model={NAME}")
    assert (removed.status, removed.json()) == (200, {"success": True})
    assert status(server, "foo:q4_k_m")["value"] == "not listed"
    assert not list(hub_cache(env).rglob("*.gguf"))
    unknown = server.ask("POST", "/models", {"model": "owner/nothing"})
    assert unknown.status == 400  # as the hub says it to those without a token
    assert "token_missing" in unknown.json()["error"]["message"]
    missing = server.ask("POST", "/models", {"model": f"{REPOSITORY}:Q2_K"})
    assert missing.status == 400
    assert "Q4_K_M" in missing.json()["error"]["message"]
    for name in ("nonsense", ""):
        assert server.ask("POST", "/models", {"model": name}).status == 400
    server.stop()
    reader.join(30)
    told = [(one["event"], one["model"]) for one in events]
    assert told.index(("download_progress", NAME)) < told.index(("download_finished", NAME))
    assert ("model_remove", "foo:q4_k_m") in told
    first = next(one for one in events if one["model"] == NAME)
    assert (first["event"], first["data"]) == ("model_status", {"status": "downloading"})
    step = next(one for one in events if one["event"] == "download_progress")
    assert set(step["data"]["progress"][FILE]) == {"done", "total"}


def hub_cache(env: dict[str, str]) -> Path:
    from pathlib import Path as FilePath  # noqa: PLC0415 - for types above

    return FilePath(env["HF_HOME"]) / "hub"


def test_an_order_for_nothing_that_is_served(
    modelswap_server: StartServer, env: dict[str, str]
) -> None:
    """Where the cache is not looked at an order is refused, with what to do; a model of the file is pulled."""
    server = modelswap_server(configured(), env=env)
    answer = server.ask("POST", "/models", {"model": "owner/other-GGUF"})
    assert answer.status == 400
    assert "discover.stores" in answer.json()["error"]["message"]
    assert server.ask("POST", "/models", {"model": NAME}).status == 200
    wait_until(lambda: "/snapshots/" in " ".join(status(server)["args"]))
    assert server.running() == {}
    assert server.ask("POST", "/models", {"model": "a"}).status == 400
    assert server.chat("a").status == 200
    assert server.ask("DELETE", "/models?model=b").status == 400
    assert server.ask("DELETE", "/models?model=a").status == 200
    assert server.running() == {}
    assert not list(hub_cache(env).rglob("*.gguf"))
    assert server.chat("a", seconds=60).status == 200  # it is pulled again


def test_check_says_what_is_to_be_pulled(
    modelswap_server: StartServer, env: dict[str, str]
) -> None:
    """What is not here yet is a note of `check`, no error."""
    server = modelswap_server(configured(), env=env, start=False)
    said = command("check", "--strict", str(server.config_file), env=env)
    assert (said.returncode, said.stderr) == (0, "")
    assert f"not pulled yet: a: {SOURCE}" in said.stdout
