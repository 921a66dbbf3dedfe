"""Logs and events: what a watcher is sent, when, and in which form."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any

import pytest

from support.server import wait_until
from support.streams import RecordingPeer, error_of, events_of, model, opened

if TYPE_CHECKING:
    import http.client
    from collections.abc import Iterator

    from support.server import Modelswap
    from support.streams import Serve

CONFIG = f"""
groups: {{all: {{swap: false, members: [a, org/b, hidden]}}}}
models:
{model("a", aliases=["nick"], name="A", description="first", capabilities={"in": ["text"], "tools": True, "context": 99})}
{model("org/b")}
{model("hidden", unlisted=True)}
peers: {{far: {{proxy: "http://127.0.0.1:9", models: [m]}}}}
profiles: {{work: {{pins: {{x: a}}}}}}
"""


@pytest.fixture(scope="module")
def server(serve: Serve) -> Modelswap:
    return serve(CONFIG)


# Logs


def test_the_log(server: Modelswap) -> None:
    """The combined log as text; to a browser the page."""
    answer = server.ask("GET", "/logs")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/plain")
    assert answer.body.startswith(b"[INFO] ")
    page = server.ask("GET", "/logs", headers={"Accept": "text/html,*/*"})
    assert (page.status, page.headers["location"]) == (302, "ui/")


def test_the_access_log(server: Modelswap) -> None:
    """One INFO line per request: address, method, path without query, status, bytes, agent, time."""
    server.ask("GET", "/running?q=1", headers={"User-Agent": "me/1"})
    server.ask("GET", "/wol-health")
    server.ask("GET", "/metrics")
    server.chat("nope")
    text = wait_for_log(server, "/v1/chat/completions")
    assert re.search(
        r'^\[INFO\] Request 127\.0\.0\.1 "GET /running HTTP/1\.1" 200 \d+ "me/1" [\d.]+(ns|µs|ms|s)$',
        text,
        re.MULTILINE,
    ), text
    assert re.search(r'"POST /v1/chat/completions HTTP/1\.1" 404 \d\d+ "" ', text), text
    assert "/wol-health" not in text
    assert "/metrics" not in text


PAGE = {"X-Modelswap-Page": "1"}


def test_requests_of_the_page_are_not_logged(server: Modelswap) -> None:
    """The page's reads for updates are not logged; its changes and failed reads are."""
    for path in ("/running?of=page", "/api/profiles?of=page", "/ui/app.js", "/ui/style.css"):
        assert server.ask("GET", path, headers=PAGE).status == 200
    server.ask("GET", "/v1/models/none-such", headers=PAGE)
    server.ask("POST", "/api/models/unload/none-such", headers=PAGE)
    server.ask("GET", "/api/profiles?of=other")
    server.ask("GET", "/ui/")
    server.ask("GET", "/v1/models/the-last", headers=PAGE)
    text = wait_for_log(server, "the-last")
    lines = re.findall(
        r'"(\w+ /(?:running|api/profiles|ui/|v1/models/|api/models/)\S*) \S+" (\d+)', text
    )
    wanted = [
        ("GET /v1/models/none-such", "404"),
        ("POST /api/models/unload/none-such", "404"),
        ("GET /api/profiles", "200"),
        ("GET /ui/", "200"),
        ("GET /v1/models/the-last", "404"),
    ]
    assert lines[-5:] == wanted, text
    assert "/ui/app.js" not in text


def test_debug_level_logs_requests_of_the_page(serve: Serve) -> None:
    """With `logLevel: debug` the requests of the page are lines like all others."""
    server = serve(f"logLevel: debug\nmodels:\n{model('a')}")
    server.ask("GET", "/running", headers=PAGE)
    assert '"GET /running HTTP/1.1" 200' in wait_for_log(server, "/running")


def wait_for_log(server: Modelswap, needle: str) -> str:
    def text() -> str:
        return server.ask("GET", "/logs").body.decode()

    wait_until(lambda: needle in text())
    return text()


def first_bytes(response: http.client.HTTPResponse) -> bytes:
    assert response.status == 200
    assert response.getheader("Content-Type") == "text/plain"
    assert response.getheader("X-Content-Type-Options") == "nosniff"
    assert response.getheader("X-Accel-Buffering") == "no"
    assert response.getheader("Transfer-Encoding") == "chunked"
    return response.read1(65536)


def until(response: http.client.HTTPResponse, needle: bytes) -> bytes:
    got = b""
    while needle not in got:
        piece = response.read1(65536)
        assert piece, got
        got += piece
    return got


def test_log_streams(server: Modelswap) -> None:
    """History first, then what comes: combined, proxy, upstream, one model by id or alias."""
    for name in ("a", "org/b"):
        assert server.chat(name).status == 200
    for path in ("", "/", "/proxy"):
        with opened(server, "GET", f"/logs/stream{path}") as stream:
            assert b"[INFO] " in first_bytes(stream)
            server.ask("GET", f"/running?{path}")
            until(stream, b'"GET /running HTTP/1.1"')
    with opened(server, "GET", "/logs/stream/upstream") as stream:
        first_bytes(stream)
    for path in ("a", "nick", "a/and/more"):
        with opened(server, "GET", f"/logs/stream/{path}") as stream:
            assert b"stub stub pid" in first_bytes(stream)
    for path in ("org/b", "org%2Fb"):
        with opened(server, "GET", f"/logs/stream/{path}") as stream:
            assert b"stub stub pid" in first_bytes(stream)


def test_headers_of_a_quiet_log_come_at_once(server: Modelswap) -> None:
    """Better: no need to wait for the first line; `no-history` skips the past."""
    with opened(server, "GET", "/logs/stream/hidden?no-history") as stream:
        assert stream.status == 200
        assert server.chat("hidden").status == 200
        assert first_bytes(stream).startswith(b"stub stub pid")


@pytest.mark.parametrize("name", ["nope", "far/m", "combined"])
def test_no_such_log(server: Modelswap, name: str) -> None:
    """400, with the headers of a stream."""
    answer = server.ask("GET", f"/logs/stream/{name}")
    assert answer.status == 400
    message = "invalid logger. Use 'proxy', 'upstream' or a model's ID"
    assert error_of(answer)["message"] == message
    assert answer.headers["x-accel-buffering"] == "no"


@pytest.mark.parametrize(
    ("to", "own", "theirs"),
    [
        ("proxy", True, False),
        ("upstream", False, True),
        ("both", True, True),
        ("none", False, False),
    ],
)
def test_log_to_stdout(serve: Serve, to: str, *, own: bool, theirs: bool) -> None:
    """`logToStdout`: what stdout and the combined log get; the other logs always fill."""
    server = serve(f"logToStdout: {to}\nmodels:\n{model('a')}")
    assert server.chat("a").status == 200

    def found(path: str) -> tuple[bool, bool]:
        with opened(server, "GET", f"/logs/stream/{path}?x") as stream:
            text = stream.read1(65536)
        return b"[INFO]" in text, b"stub stub pid" in text

    wait_until(lambda: found("proxy") == (True, False))
    wait_until(lambda: found("upstream") == (False, True))
    text = server.ask("GET", "/logs").body
    assert (b"[INFO]" in text, b"stub stub pid" in text) == (own, theirs)
    wait_until(lambda: (("[INFO]" in server.log()), ("stub stub" in server.log())) == (own, theirs))


def test_the_combined_log_holds_all_lines(serve: Serve) -> None:
    """Without `logToStdout`: the combined log carries proxy and models, stdout only our lines."""
    server = serve(f"models:\n{model('a')}")
    assert server.chat("a").status == 200
    with opened(server, "GET", "/logs/stream") as stream:
        assert b"[INFO]" in until(stream, b"stub stub pid")
    for path in ("/logs", "/log"):
        text = server.ask("GET", path).body
        assert b"[INFO]" in text
        assert b"stub stub pid" in text
    assert "stub stub pid" not in server.log()


FORMATS = {
    "ansic": r"\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}",
    "unixdate": r"\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \w+ \d{4}",
    "rubydate": r"\w{3} \w{3} \d\d \d\d:\d\d:\d\d [+-]\d{4} \d{4}",
    "rfc822": r"\d\d \w{3} \d\d \d\d:\d\d \w+",
    "rfc822z": r"\d\d \w{3} \d\d \d\d:\d\d [+-]\d{4}",
    "rfc850": r"\w+day, \d\d-\w{3}-\d\d \d\d:\d\d:\d\d \w+",
    "rfc1123": r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d \w+",
    "rfc1123z": r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}",
    "rfc3339": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)",
    "RFC3339Nano": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)",
    "kitchen": r"\d{1,2}:\d\d[AP]M",
    "stamp": r"\w{3} [ \d]\d \d\d:\d\d:\d\d",
    "stampmilli": r"\w{3} [ \d]\d \d\d:\d\d:\d\d\.\d{3}",
    "stampmicro": r"\w{3} [ \d]\d \d\d:\d\d:\d\d\.\d{6}",
    "stampnano": r"\w{3} [ \d]\d \d\d:\d\d:\d\d\.\d{9}",
    "unknown": None,
}


def test_log_time_formats(serve: Serve) -> None:
    """Every `logTimeFormat`, by one server that reloads; an unknown one means none."""
    server = serve("models: {}\n")
    for name, pattern in FORMATS.items():
        server.write_config(f"logTimeFormat: {name}\nmodels: {{}}\n")
        assert server.ask("POST", "/api/config/reload").status == 200
        agent = f"probe-{name}"
        server.ask("GET", "/health", headers={"User-Agent": agent})
        wait_for_log(server, agent)
        line = next(
            text for text in server.ask("GET", "/logs").body.decode().splitlines() if agent in text
        )
        expected = (
            r"\[INFO\] Request .*" if pattern is None else rf"\[?{pattern}\]? \[INFO\] Request .*"
        )
        assert re.fullmatch(expected, line), line


@pytest.mark.parametrize(("level", "shown"), [("warn", False), ("INFO", True), ("junk", True)])
def test_log_levels(serve: Serve, level: str, *, shown: bool) -> None:
    """The level filters our own lines; junk means info."""
    server = serve(f"logLevel: {level}\nmodels: {{}}\n")
    server.ask("GET", "/running")
    server.ask("GET", "/api/version")
    time.sleep(0.1)  # log lines about requests come a moment later
    assert (b"Request" in server.ask("GET", "/logs").body) is shown


# Events


def initial(events: Iterator[tuple[str, Any]]) -> list[tuple[str, Any]]:
    found = []
    for kind, payload in events:
        found.append((kind, payload))
        if kind == "inflight":
            return found
    raise AssertionError(found)


def test_the_first_events(server: Modelswap) -> None:
    """Headers at once, then the present state in llama-swap's order."""
    with opened(server, "GET", "/api/events") as stream:
        assert stream.status == 200
        for name, value in (
            ("Content-Type", "text/event-stream"),
            ("Cache-Control", "no-cache"),
            ("X-Content-Type-Options", "nosniff"),
            ("X-Accel-Buffering", "no"),
        ):
            assert stream.getheader(name) == value
        found = initial(events_of(stream))
    kinds = [kind for kind, _ in found]
    assert kinds == ["logData", "logData", "modelStatus", "uiConfig", "profileChanged", "inflight"]
    assert [payload["source"] for _, payload in found[:2]] == ["proxy", "upstream"]
    assert found[3][1] == {"activity": {"session_id": ["X-Session-ID", "X-Litellm-Session-Id"]}}
    assert found[4][1] == {"active": None}
    assert found[5][1]["operation"] == "snapshot"


def test_the_frame(server: Modelswap) -> None:
    """`event:message`, `data:` without a blank, the payload JSON in a JSON string."""
    with opened(server, "GET", "/api/events") as stream:
        assert stream.readline() == b"event:message\n"
        line = stream.readline()
    assert line.startswith(b'data:{"type":"logData","data":"{')
    envelope = json.loads(line[5:])
    assert json.loads(envelope["data"])["source"] == "proxy"


def test_model_status(server: Modelswap) -> None:
    """All local models by id, then the peers' models; exactly these fields."""
    server.ask("POST", "/api/models/unload")
    with opened(server, "GET", "/api/events") as stream:
        found = dict(initial(events_of(stream)))["modelStatus"]
    assert found == [
        {
            "id": "a",
            "name": "A",
            "description": "first",
            "state": "stopped",
            "unlisted": False,
            "peerID": "",
            "aliases": ["nick"],
            "capabilities": {"function_calling": True},
            "context_length": 99,
        },
        {"id": "hidden", "name": "", "description": "", "state": "stopped", "unlisted": True, "peerID": ""},
        {"id": "org/b", "name": "", "description": "", "state": "stopped", "unlisted": False, "peerID": ""},
        {"id": "far/m", "name": "", "description": "", "state": "", "unlisted": False, "peerID": "far"},
    ]  # fmt: skip


def test_the_events_of_a_request(server: Modelswap) -> None:
    """One request: in-flight upserts and its removal, states, logs, activity; then a profile."""
    server.ask("POST", "/api/models/unload")
    with opened(server, "GET", "/api/events") as stream:
        events = events_of(stream)
        initial(events)
        headers = {
            "X-Session-ID": "s1",
            "Authorization": "Bearer k",
            "Content-Type": "application/json",
        }
        body = {"model": "nick", "stream": True, "n": 20, "delay_ms": 30}
        server.ask("POST", "/v1/chat/completions", body, headers)
        states: list[str] = []
        entries: list[Any] = []
        logs: set[str] = set()
        removed = activity = None
        for kind, payload in events:
            if kind == "modelStatus":
                states.append(next(m["state"] for m in payload if m["id"] == "a"))
            elif kind == "logData":
                logs.add(payload["source"])
            elif kind == "activity":
                activity = payload
            elif kind == "inflight" and payload["operation"] == "upsert":
                entries.append(payload["request"])
            elif kind == "inflight" and payload["operation"] == "remove":
                removed = payload
            if activity and removed and {"proxy", "upstream"} <= logs:
                break
        server.ask("PUT", "/api/profiles/active", '{"name":"work"}')
        changed = next(payload for kind, payload in events if kind == "profileChanged")
        assert changed == {"active": "work"}
        assert (
            next(kind for kind, _ in events if kind in {"modelStatus", "uiConfig"}) == "modelStatus"
        )
        server.ask("PUT", "/api/profiles/active", '{"name":null}')
    assert [s for i, s in enumerate(states) if s not in states[:i]] == ["starting", "ready"]
    newest = server.ask("GET", "/api/metrics/activity?limit=1").json()["data"][0]
    assert activity == {"id": newest["id"]}
    first, last = entries[0], entries[-1]
    assert removed == {"operation": "remove", "id": first["id"]}
    assert (first["model"], first["req_path"]) == ("a", "/v1/chat/completions")
    assert (first["method"], first["remote_ip"]) == ("POST", "127.0.0.1")
    assert first["req_headers"]["X-Session-Id"] == "s1"
    assert first["req_headers"]["Authorization"] == "[REDACTED]"
    assert first["resp_headers"] == {}
    assert re.fullmatch(r"[1-9]\d*", first["id"])
    assert last["resp_headers"]["Content-Type"] == "text/event-stream"
    assert last["resp_bytes"] > 0
    assert last["elapsed_ms"] >= first["elapsed_ms"]


def test_session_headers(serve: Serve) -> None:
    """`ui.activity.session_id`: trimmed, doubles dropped; `[]` switches it off."""
    for text, shown in (("[' X-A ', x-a, '', X-B]", ["X-A", "X-B"]), ("[]", [])):
        server = serve(f"ui: {{activity: {{session_id: {text}}}}}\n")
        with opened(server, "GET", "/api/events") as stream:
            found = dict(initial(events_of(stream)))
        assert found["uiConfig"] == {"activity": {"session_id": shown}}


def test_streams_end_when_the_server_stops(serve: Serve) -> None:
    """A stop ends event and log streams cleanly and does not wait for them."""
    server = serve("models: {}\n")
    with (
        opened(server, "GET", "/api/events") as events,
        opened(server, "GET", "/logs/stream") as logs,
    ):
        initial(events_of(events))
        assert server.stop() == 0
        assert b"stopping" in logs.read()
        events.read()


def test_the_client_address_from_a_trusted_proxy(serve: Serve) -> None:
    """Better: `X-Forwarded-For` names the client only when a trusted proxy sends it."""
    forwarded = {"X-Forwarded-For": "9.8.7.6"}
    plain = serve("models: {}\n")
    plain.ask("GET", "/running", headers=forwarded)
    assert "9.8.7.6" not in wait_for_log(plain, '"GET /running')
    trusting = serve("trustedProxies: [127.0.0.0/8]\nmodels: {}\n")
    trusting.ask("GET", "/running", headers=forwarded)
    wait_for_log(trusting, 'Request 9.8.7.6 "GET /running')


def test_secrets_never_reach_the_log(serve: Serve) -> None:
    """Better: keys and values from the environment are masked wherever they would show."""
    with RecordingPeer() as peer:
        config = (
            "apiKeys: ['${env.KEY}']\nlogToStdout: both\n"
            f"models:\n{model('a')}    env: ['TOKEN=${{env.SECRET}}']\n"
            f"peers: {{p: {{proxy: '{peer.url}', models: [m], apiKey: '${{env.SECRET}}'}}}}\n"
        ).replace("    cmd: ", '    cmd: sh -c \'echo $TOKEN; exec "$0" "$@"\' ', 1)
        server = serve(config, env={"KEY": "kkkk-1111", "SECRET": "ssss-2222"})
        key = {"Authorization": "Bearer kkkk-1111", "Content-Type": "application/json"}
        body = {"model": "a", "messages": []}
        assert server.ask("POST", "/v1/chat/completions", body, key).status == 200
        found = server.ask("GET", "/logs", headers=key).body
        assert b"***" in found
        assert b"ssss-2222" not in found
        assert b"ssss-2222" not in server.ask("GET", "/running", headers=key).body
        assert "kkkk-1111" not in server.log()
