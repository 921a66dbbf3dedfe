"""`/api/plan`, `/api/decisions`, the event `decision`: what would happen, and what was decided."""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from support.server import wait_until
from support.streams import error_of, events_of, model, opened, sse

if TYPE_CHECKING:
    from pathlib import Path

    from support.server import Modelswap
    from support.streams import Serve

BROKEN = (
    '  broken: {cmd: \'sh -c "echo loading; echo $1; echo no such tensor >&2; exit 3"'
    " --api-key sk-hidden --port ${PORT}'}\n"
)
"""It prints the key of its command."""
CONFIG = f"""
routing: {{router: {{settings: {{groups: {{pair: {{members: [a, b, broken]}}}}}}}}}}
peers: {{far: {{proxy: "http://127.0.0.1:9", models: [m]}}}}
selectors: {{any: {{strategy: pin, targets: [a, far/m]}}}}
profiles: {{work: {{pins: {{off: "", b: a}}}}}}
models:
{model("a", aliases=["nick"])}{model("b")}{BROKEN}
"""
BODY = {"messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture(scope="module")
def server(serve: Serve) -> Modelswap:
    return serve(CONFIG)


@pytest.fixture(autouse=True)
def nothing_loaded(server: Modelswap) -> None:
    assert server.ask("POST", "/api/models/unload").status == 200


def plan(server: Modelswap, name: str) -> dict[str, Any]:
    answer = server.ask("GET", f"/api/plan?model={name}")
    assert answer.status == 200, answer.body
    found: dict[str, Any] = answer.json()
    return found


def decisions(server: Modelswap, query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = server.ask("GET", f"/api/decisions{query}").json()["data"]
    return found


RULE = 'group "pair" runs one model at a time'


def test_a_plan_names_who_leaves_and_why(server: Modelswap) -> None:
    """Start, serve, swap: in words and in fields; by id and by alias; and nothing is done."""
    first = plan(server, "nick")
    assert (first["requested"], first["model"], first["verdict"]) == ("nick", "a", "start")
    assert first["text"] == "a would start at once."
    assert server.ask("GET", "/running").json()["running"] == []
    assert server.chat("a").status == 200
    assert plan(server, "a")["verdict"] == "serve"
    swap = plan(server, "b")
    assert (swap["verdict"], swap["why"]) == ("swap", RULE)
    (victim,) = swap["evictions"]
    assert (victim["model"], victim["how"]) == ("a", "stop")
    assert swap["text"].startswith("b would start after a (idle for ")
    assert swap["text"].endswith(f") leaves: {RULE}.")
    assert [m["model"] for m in server.ask("GET", "/running").json()["running"]] == ["a"]


def test_the_machine_s_memory_is_shown(server: Modelswap) -> None:
    """The devices as they are, also where no model is placed by memory."""
    (ram,) = [d for d in plan(server, "a")["devices"] if d["id"] == "ram"]
    assert ram["total"] > ram["reserve"] >= 0
    assert ram["text"].startswith("ram: ")
    whole = server.ask("GET", "/api/plan").json()
    assert [d["id"] for d in whole["devices"]] == [d["id"] for d in plan(server, "a")["devices"]]
    assert whole["decides_by_memory"] is False


def test_names_that_are_no_model_of_this_server(server: Modelswap) -> None:
    """A peer's, a selector's, one that the profile switches off or pins, an unknown one, none."""
    peer = plan(server, "far/m")
    assert (peer["verdict"], peer["peer"]) == ("peer", "far")
    assert peer["text"] == "far/m is served by the peer far, which decides for itself."
    chosen = plan(server, "any")
    assert chosen["verdict"] == "selector"
    assert [target["model"] for target in chosen["targets"]] == ["a", "far/m"]
    assert "a would start at once." in chosen["text"]
    assert server.ask("PUT", "/api/profiles/active", {"name": "work"}).status == 200
    try:
        assert plan(server, "off")["text"] == (
            "off would be refused: the active profile switches it off."
        )
        assert plan(server, "b")["model"] == "a"
    finally:
        server.ask("PUT", "/api/profiles/active", {"name": None})
    unknown = server.ask("GET", "/api/plan?model=no")
    assert (unknown.status, error_of(unknown)["message"]) == (404, "model 'no' not found")
    for wrong, right in (("nikc", "nick"), ("far/n", "far/m"), ("ANY", "any")):
        near = error_of(server.ask("GET", f"/api/plan?model={wrong}"))["message"]
        assert near == f"model '{wrong}' not found; did you mean '{right}'?"
    assert server.ask("GET", f"/api/plan?model={'x' * 2000}").status == 404
    nameless = server.ask("GET", "/api/plan?model=")
    assert (nameless.status, error_of(nameless)["code"]) == (400, "bad_request")


def test_a_busy_model_is_waited_for(server: Modelswap, tmp_path: Path) -> None:
    """The plan says how many requests have to end, and who leaves then."""
    held = {"model": "a", **BODY, "stream": True, "until": str(tmp_path / "go on")}
    with opened(server, "POST", "/v1/chat/completions", held) as response:
        next(sse(response))
        busy = plan(server, "b")
        (tmp_path / "go on").touch()
    assert (busy["verdict"], busy["waits_for"]) == ("wait", "busy")
    assert busy["text"].startswith("b waits until a has finished 1 request. Then a (runs 1 request")
    assert busy["text"].endswith(f") leaves: {RULE}.")


def test_a_failed_start_is_a_refusal(server: Modelswap) -> None:
    """While it backs off; the reason is there, secrets masked."""
    assert server.chat("broken").status == 503
    refused = plan(server, "broken")
    assert (refused["verdict"], refused["refused"]["reason"]) == ("refuse", "backing_off")
    assert "no such tensor" in refused["text"]
    assert refused["evictions"] == []


def test_a_swap_is_kept(server: Modelswap) -> None:
    """Who asked, who left, why, when, how it ended; the newest first; of one model; bounded."""
    server.chat("a")
    answer = server.ask(
        "POST", "/v1/chat/completions", {"model": "b", **BODY}, {"X-Client": "nobody"}
    )
    assert answer.status == 200
    newest, before = decisions(server)[:2]
    assert (newest["model"], newest["ending"], newest["why"]) == ("b", "ready", RULE)
    assert [one["model"] for one in newest["evicted"]] == ["a"]
    assert newest["asked_by"]["kind"] == "request"
    assert newest["asked_by"]["client"] == "127.0.0.1"
    assert newest["asked_by"]["request"] > before["asked_by"]["request"]
    assert 0 <= newest["stopped_s"] <= newest["started_s"] <= newest["ended_s"]
    assert newest["text"].startswith(
        f"b for request {newest['asked_by']['request']} of 127.0.0.1: "
    )
    assert f"a leaves ({RULE}); ready after " in newest["text"]
    wait_until(lambda: f"[INFO] decision: {newest['text']}" in server.log())
    assert {one["model"] for one in decisions(server, "?model=nick")} == {"a"}
    assert len(decisions(server, "?limit=1")) == 1
    for wrong in ("0", "501", "x", "-1", "99999"):
        assert server.ask("GET", f"/api/decisions?limit={wrong}").status == 400


def test_orders_and_failures_are_kept(server: Modelswap) -> None:
    """An order of the page has no request; a failed start has its reason."""
    assert server.ask("POST", "/api/models/load/a").status == 200
    assert decisions(server)[0]["text"].startswith("a for an order: none leaves; ready after ")
    server.chat("broken")
    failed = decisions(server)[0]
    assert failed["ending"] == "failed"
    assert "no such tensor" in failed["reason"]
    figures = server.ask("GET", "/metrics").body.decode()
    assert 'modelswap_decisions_total{asked_by="order",ending="ready"}' in figures
    assert 'modelswap_evictions_total{model="a"}' in figures


def test_a_swap_is_told(server: Modelswap) -> None:
    """The event comes when it is decided and when it has ended, with the same fields as the list."""
    with opened(server, "GET", "/api/events") as response:
        events = events_of(response)
        assert any(kind == "configStatus" for kind, _ in events)
        server.chat("b")
        told: list[dict[str, Any]] = []
        while len(told) < 2:
            kind, payload = next(events)
            if kind == "decision":
                told.append(payload)
    assert [one["ending"] for one in told] == ["", "ready"]
    assert told[0]["id"] == told[1]["id"]
    assert told[1] == decisions(server)[0]


def test_decisions_survive_a_restart(serve: Serve, tmp_path: Path) -> None:
    """With `store.path` they are in its SQLite file, and the next start lists them."""
    file = tmp_path / "activity.db"
    config = f"store: {{path: {json.dumps(str(file))}, retentionRows: 2}}\nmodels:\n{model('a')}{model('b')}"
    first = serve(config)
    for name in ("a", "b", "a"):
        assert first.chat(name).status == 200
    assert [one["model"] for one in decisions(first)][:3] == ["a", "b", "a"]
    first.stop()
    with sqlite3.connect(file) as rows:
        kept = [row[0] for row in rows.execute("SELECT model FROM decisions ORDER BY id")]
    assert kept == ["b", "a"]
    second = serve(config)
    assert [one["model"] for one in decisions(second)] == ["a", "b"]
    assert second.chat("b").status == 200
    assert [one["model"] for one in decisions(second)][:2] == ["b", "a"]
    assert [one["model"] for one in decisions(second, "?model=a")] == ["a"]


def test_who_may_ask(serve: Serve) -> None:
    """The scope `read`, and a key that is not limited to some models: others are named."""
    keyed = serve(
        "apiKeys: [{name: r, key: sk-r, scopes: [read]}, {name: i, key: sk-i, scopes: [inference]},"
        f" {{name: l, key: sk-l, scopes: [read], models: [a]}}]\nmodels:\n{model('a')}"
    )
    for path in ("/api/plan?model=a", "/api/decisions"):
        statuses = [
            keyed.ask("GET", path, headers={"Authorization": f"Bearer sk-{key}"}).status
            for key in "ril"
        ]
        assert statuses == [200, 403, 403], path
        assert keyed.ask("GET", path).status == 401


def test_the_last_lines_for_an_admin(serve: Serve) -> None:
    """The answer to a failed start has the server's last lines, for an admin alone; in the log, masked."""
    keyed = serve(
        "apiKeys: [{name: root, key: sk-root, scopes: [admin, inference]},"
        " {name: i, key: sk-user, scopes: [inference]}]\nmodels:\n" + BROKEN
    )

    def failure(key: str, path: str, **more: Any) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {key}"}
        answer = keyed.ask("POST", path, {"model": "broken", **BODY, **more}, headers)
        assert answer.status == 503
        error: dict[str, Any] = answer.json()["error"]
        return error

    lines = failure("sk-root", "/v1/chat/completions")["details"]["log"]
    assert lines[0] == "loading"
    assert lines[-1] == "no such tensor"
    assert failure("sk-root", "/v1/messages", max_tokens=1)["details"]["log"] == lines
    user = failure("sk-user", "/v1/chat/completions")
    assert "details" not in user
    assert "no such tensor" not in json.dumps(user)
    text = keyed.ask(
        "POST",
        "/v1/chat/completions",
        {"model": "broken", **BODY},
        {"Authorization": "Bearer sk-root", "Accept": "text/plain"},
    ).body.decode()
    assert text.splitlines()[1:] == lines
    wait_until(lambda: "[WARN] <broken> | no such tensor" in keyed.log())
    everything = json.dumps([lines, text, keyed.log()])
    assert "sk-hidden" not in everything


def test_secrets_are_nowhere(serve: Serve, tmp_path: Path) -> None:
    """A key of a command, of an environment or of a client is in no plan, decision, event, log, figure or row."""
    script = tmp_path / "broken.sh"
    script.write_text('echo "$@"; echo "token $TOKEN" >&2; echo "no such tensor" >&2; exit 3\n')
    secrets = {"ARGUMENT": "sk-argument-0001", "TOKEN": "sk-environment-02"}
    keyed = serve(
        f"store: {{path: '{tmp_path}/store.db'}}\n"
        "apiKeys: [{name: root, key: sk-client-00003, scopes: [admin, inference, read]}]\n"
        "models:\n"
        f"  broken: {{cmd: 'sh {script} --api-key ${{env.ARGUMENT}} --port ${{PORT}}',"
        " env: ['TOKEN=${env.TOKEN}']}\n",
        env=secrets,
    )
    headers = {"Authorization": "Bearer sk-client-00003"}
    with opened(keyed, "GET", "/api/events", None, headers) as stream:
        events = events_of(stream)
        failed = keyed.ask("POST", "/v1/chat/completions", {"model": "broken", **BODY}, headers)
        told = next(data for kind, data in events if kind == "decision" and data["ending"])
    assert "no such tensor" in json.dumps(failed.json())
    routes = (
        "/api/plan?model=broken /api/plan /api/decisions /running /metrics /logs /models /v1/models"
    )
    shown = [keyed.ask("GET", path, headers=headers).body.decode() for path in routes.split()]
    wait_until(lambda: "decision: broken" in keyed.log())
    with sqlite3.connect(tmp_path / "store.db") as file:
        wait_until(lambda: file.execute("SELECT count(*) FROM decisions").fetchone()[0])
        shown += [row[0] for row in file.execute("SELECT decision FROM decisions")]
    everything = "\n".join([*shown, failed.body.decode(), json.dumps(told), keyed.log()])
    for secret in (*secrets.values(), "sk-client-00003"):
        assert secret not in everything
