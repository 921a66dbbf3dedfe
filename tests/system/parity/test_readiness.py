"""What the routes report of a model while it loads, and which requests it accepts then."""

from __future__ import annotations

import contextlib
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from typing import TYPE_CHECKING

import pytest

from support.server import wait_until
from support.streams import error_of, model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.server import Answer, Modelswap
    from support.streams import Serve

CONFIG = f"""
includeAliasesInList: true
groups: {{one: {{members: [slow, other]}}}}
models:
{model("slow", "--ready-after", "1.5", aliases=["nick"])}
{model("other", "--stop-takes", "1", unloadTimeout=10)}
{model("brief", ttl=2)}
  broken: {{cmd: "sh -c 'exit 3' ${{PORT}}"}}
profiles:
  work: {{pins: {{pinned: nick}}}}
selectors:
  sel: {{strategy: warm, targets: [slow, broken]}}
  fixed: {{strategy: pin, targets: [broken, slow]}}
"""
LOADING = {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}


@pytest.fixture(scope="module")
def running(serve: Serve) -> Modelswap:
    return serve(CONFIG)


@pytest.fixture
def server(running: Modelswap) -> Modelswap:
    running.ask("POST", "/api/models/unload?force=true")
    return running


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as made:
        yield made


def statuses(server: Modelswap) -> dict[str, str]:
    listed = server.ask("GET", "/v1/models").json()["data"]
    assert all(server.ask("GET", f"/v1/models/{r['id']}").json()["status"] for r in listed)
    return {record["id"]: record["status"]["value"] for record in listed}


def is_loading(answer: Answer) -> None:
    assert (answer.status, answer.json()) == (503, LOADING)
    assert answer.headers["content-type"] == "application/json"
    assert 1 <= int(answer.headers["retry-after"]) <= 60


def test_the_list_while_a_model_loads(server: Modelswap, pool: ThreadPoolExecutor) -> None:
    """`unloaded`, `loading`, `loaded`: with its aliases and selectors, in the list and alone."""
    server.ask("PUT", "/api/profiles/active", {"name": "work"})
    names = ("slow", "nick", "sel", "pinned")
    assert {statuses(server)[name] for name in names} == {"unloaded"}
    chat = pool.submit(server.chat, "slow")
    wait_until(lambda: statuses(server)["slow"] == "loading")
    found = statuses(server)
    assert [found[name] for name in names] == ["loading"] * 4
    assert found["fixed"] == found["broken"] == "unloaded"
    assert server.ask("GET", "/v1/models/nick").json()["status"] == {"value": "loading"}
    assert chat.result().status == 200
    assert {statuses(server)[name] for name in names} == {"loaded"}


def test_the_list_when_a_failed_model_is_requested_again(
    server: Modelswap, pool: ThreadPoolExecutor
) -> None:
    """A model that failed loads, too, as soon as a request waits for it."""
    assert server.chat("slow").status == 200
    (entry,) = server.ask("GET", "/running").json()["running"]
    os.kill(entry["pid"], signal.SIGKILL)
    wait_until(lambda: statuses(server)["slow"] == "failed")
    assert server.chat("other").status == 200
    busy = pool.submit(server.chat, "other", delay_ms=500)
    wait_until(lambda: server.ask("GET", "/api/inflight").json()["requests"])
    chat = pool.submit(server.chat, "slow")
    wait_until(lambda: statuses(server)["slow"] == "loading")
    assert statuses(server)["other"] == "loaded"
    is_loading(server.ask("GET", "/upstream/slow/health"))
    assert busy.result().status == chat.result().status == 200


def test_the_list_while_a_swap_is_pending(server: Modelswap, pool: ThreadPoolExecutor) -> None:
    """A model is loading as soon as a request waits for it; one that stops is loaded until it has ended."""
    assert server.chat("other").status == 200
    busy = pool.submit(server.chat, "other", delay_ms=500)
    wait_until(lambda: server.ask("GET", "/api/inflight").json()["requests"])
    chat = pool.submit(server.chat, "slow")
    wait_until(lambda: statuses(server)["slow"] == "loading")
    assert statuses(server)["other"] == "loaded"
    assert busy.result().status == 200
    wait_until(lambda: server.running().get("other") == "stopping")
    found = statuses(server)
    assert (found["other"], found["slow"]) == ("loaded", "loading")
    is_loading(server.ask("GET", "/upstream/slow/health"))
    assert chat.result().status == 200


@pytest.mark.parametrize("path", ["health", "v1/health"])
def test_health_loads_and_passes(server: Modelswap, pool: ThreadPoolExecutor, path: str) -> None:
    """Stopped: it loads the model and answers when ready. Loading: llama-server's 503. Ready: passed on."""
    first = pool.submit(server.ask, "GET", f"/upstream/nick/{path}?x=1")
    wait_until(lambda: server.running().get("slow") == "starting")
    for name in ("slow", "nick"):
        is_loading(server.ask("GET", f"/upstream/{name}/{path}"))
        is_loading(server.ask("GET", f"/upstream/{name}/{path}", headers={"Accept": "text/html"}))
        head = server.ask("HEAD", f"/upstream/{name}/{path}")
        assert (head.status, head.body) == (503, b"")
        assert head.headers["retry-after"]
    assert first.result().status == 200
    assert server.ask("GET", f"/upstream/slow/{path}").status == 200
    assert server.running() == {"slow": "ready"}


def test_a_head_of_health_loads(server: Modelswap) -> None:
    """`curl -I` counts, too."""
    assert server.ask("HEAD", "/upstream/brief/health").status == 200
    assert server.running() == {"brief": "ready"}


def test_polls_of_a_ready_model_do_not_keep_it_loaded(server: Modelswap) -> None:
    """`ttl` counts from the load on, however often health is polled; then the monitor loads nothing."""
    monitor = {"User-Agent": "monitor"}
    assert server.ask("GET", "/upstream/brief/health").status == 200

    def is_gone() -> bool:
        with contextlib.suppress(HTTPException, OSError):  # the server may leave in the middle
            server.ask("GET", "/upstream/brief/health", headers=monitor)
        return "brief" not in server.running()

    wait_until(is_gone)
    assert server.ask("GET", "/upstream/brief/health", headers=monitor).status == 409
    assert server.ask("GET", "/upstream/brief/health").status == 200
    assert server.ask("GET", "/upstream/brief/health", headers=monitor).status == 200


def test_health_loads_again_what_was_unloaded_or_swapped_out(server: Modelswap) -> None:
    """Only a model that idled out under polls stays stopped: scripts switch from model to model."""
    for name in ("slow", "other", "slow"):
        for _ in range(2):
            assert server.ask("GET", f"/upstream/{name}/health").status == 200
    server.ask("POST", "/api/models/unload")
    assert server.ask("GET", "/upstream/slow/health").status == 200


@pytest.mark.parametrize("path", ["metrics", "slots"])
def test_monitors(server: Modelswap, pool: ThreadPoolExecutor, path: str) -> None:
    """They start nothing: 409 where the model is stopped, 503 while it loads."""
    answer = server.ask("GET", f"/upstream/slow/{path}")
    assert answer.status == 409
    assert error_of(answer)["message"] == f"model slow is not loaded; /{path} cannot start it"
    assert server.running() == {}
    chat = pool.submit(server.chat, "slow")
    wait_until(lambda: server.running().get("slow") == "starting")
    is_loading(server.ask("GET", f"/upstream/slow/{path}"))
    is_loading(server.ask("GET", "/slots?model=slow"))
    assert chat.result().status == 200
    assert server.ask("GET", f"/upstream/slow/{path}").status == 200


def test_health_of_a_model_that_fails(server: Modelswap) -> None:
    """It says why, also while the model backs off."""
    for _ in range(2):
        answer = server.ask("GET", "/upstream/broken/health")
        assert (answer.status, error_of(answer)["code"]) == (503, "model_load_failed")


def test_ignored_paths_come_first(serve: Serve) -> None:
    """`/health` in `upstream.ignorePaths` loads nothing."""
    server = serve(f"upstream: {{ignorePaths: ['^/health$']}}\nmodels:\n{model('m')}")
    assert server.ask("GET", "/upstream/m/health").status == 409
    assert server.running() == {}
    assert server.chat("m").status == 200
    assert server.ask("GET", "/upstream/m/health").status == 200


def test_health_needs_the_scope_of_upstream(serve: Serve) -> None:
    """It loads a model, so a key for reading does not suffice."""
    keys = "apiKeys: [{key: reader-1, scopes: [read, inference]}, {key: admin-1}]\n"
    server = serve(f"{keys}models:\n{model('m')}")
    for key, status in ((None, 401), ("reader-1", 403), ("admin-1", 200)):
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        assert server.ask("GET", "/upstream/m/health", headers=headers).status == status
