"""What the keys of a model do while it runs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from support.server import stub_command
from support.streams import RecordingPeer, error_of, model

if TYPE_CHECKING:
    from pathlib import Path

    from support.server import Modelswap
    from support.streams import Serve


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("notes")


@pytest.fixture(scope="module")
def server(serve: Serve, peer: RecordingPeer, notes: Path) -> Modelswap:
    stub = stub_command("stub")
    config = f"""
logRequests: true
healthCheckTimeout: 15
unloadTimeout: 5
macros:
  size: 4096
  heat: 0.7
  flag: true
  base: "--name stub"
models:
  typed:
    macros: {{size: 8192, own: "${{size}}-${{MODEL_ID}}"}}
    cmd: |
      # a comment
      {stub} \\
        # another
    metadata:
      size: ${{size}}
      heat: ${{heat}}
      flag: ${{flag}}
      text: "s${{size}} ${{own}}"
      port: ${{PORT}}
      answer: ${{env.ANSWER}}
  stopped:
    cmd: {stub}
    cmdStop: sh -c 'echo ${{PID}} > {notes}/stopped; kill ${{PID}}'
  failing-stop:
    unloadTimeout: 300
    cmd: {stub}
    cmdStop: sh -c 'exit 1'
  surroundings:
    cmd: sh -c 'echo "$COLOR/$INHERITED" > {notes}/environment; exec "$0" "$@"' {stub}
    env: [COLOR=red]
  unchecked:
    cmd: sh -c 'sleep 100' --port ${{PORT}}
    checkEndpoint: none
  elsewhere:
    cmd: sleep 100
    proxy: {peer.url}/base/path?key=1
    checkEndpoint: ready?x=1
  short-timeout:
    cmd: {stub}
    timeouts: {{responseHeader: 1, connect: 5, keepalive: 0, tlsHandshake: 5, expectContinue: 1, idleConn: 5}}
"""
    return serve(config, env={"ANSWER": "42", "INHERITED": "yes"})


def seen(server: Modelswap, name: str, headers: dict[str, str] | None = None) -> Any:
    sent = {"Content-Type": "application/json", **(headers or {})}
    answer = server.ask("POST", "/v1/rerank", {"model": name}, sent)
    assert answer.status == 200, answer.body
    return answer.json()


def test_typed_macros(server: Modelswap) -> None:
    """A value that is one macro keeps its type; a model's own macro replaces the global one."""
    listed = {r["id"]: r for r in server.ask("GET", "/v1/models").json()["data"]}
    found = listed["typed"]["meta"]["llamaswap"]
    port = found.pop("port")
    assert isinstance(port, int)
    assert found == {
        "size": 8192,
        "heat": 0.7,
        "flag": True,
        "text": "s8192 8192-typed",
        "answer": 42,
        "type": "model",
    }
    assert seen(server, "typed")["stub"] == "stub"
    (row,) = server.ask("GET", "/running").json()["running"]
    assert f"--port {port}" in row["cmd"]
    assert "comment" not in row["cmd"]
    assert "another" not in row["cmd"]


def test_cmd_stop(server: Modelswap, notes: Path) -> None:
    """`cmdStop` gets the pid and is what ends the model."""
    seen(server, "stopped")
    pid = server.ask("GET", "/running").json()["running"][0]["pid"]
    assert server.ask("POST", "/api/models/unload/stopped").status == 200
    assert (notes / "stopped").read_text().strip() == str(pid)


def test_a_stop_command_that_fails(server: Modelswap) -> None:
    """Better: SIGTERM follows at once; the model is not killed only after its grace period."""
    seen(server, "failing-stop")
    assert server.ask("POST", "/api/models/unload/failing-stop", seconds=50).status == 200
    said = b"[WARN] <failing-stop> the stop command ended with 1; sending SIGTERM\n"
    assert said in server.ask("GET", "/logs").body


def test_the_environment(server: Modelswap, notes: Path) -> None:
    """`env` is added to what is inherited."""
    seen(server, "surroundings")
    assert (notes / "environment").read_text() == "red/yes\n"


def test_no_check(server: Modelswap) -> None:
    """`checkEndpoint: none`: ready as soon as started; no server listens, so 502."""
    answer = server.chat("unchecked", seconds=20)
    assert (answer.status, error_of(answer)["type"]) == (502, "server_error")
    assert server.running() == {"unchecked": "ready"}


def test_a_proxy_with_a_path(server: Modelswap, peer: RecordingPeer) -> None:
    """Base path and query stand before the client's, also for the check."""
    assert server.ask("POST", "/v1/rerank?x=2", {"model": "elsewhere"}).status == 200
    assert peer.last.target == "/base/path/v1/rerank?key=1&x=2"
    checks = [request.target for request in peer.requests if request.method == "GET"]
    assert checks[0].startswith("/base/path/ready?")
    assert "x=1" in checks[0]


def test_a_response_header_timeout(server: Modelswap) -> None:
    """`timeouts.responseHeader`: a response that does not begin in time is a 504."""
    answer = server.chat("short-timeout", delay_ms=3000)
    assert (answer.status, error_of(answer)["code"]) == (504, "gateway_timeout")
    body = {"model": "short-timeout", "stream": True, "n": 1, "delay_ms": 300}
    assert server.ask("POST", "/v1/chat/completions", body).status == 200


def test_files_are_merged(serve: Serve) -> None:
    """`-config` and `-config-dir`: maps joined, lists added up, macros seen everywhere."""
    server = serve(f"macros: {{word: hello}}\nmodels:\n{model('a')}", start=False)
    folder = server.directory / "conf.d"
    folder.mkdir()
    more = model("b", description="${word}") + "groups: {g: {swap: false, members: [a, b]}}\n"
    (folder / "more.yaml").write_text(f"models:\n{more}")
    server.flags = ("--config-dir", str(folder))
    server.start()
    listed = {r["id"]: r for r in server.ask("GET", "/v1/models").json()["data"]}
    assert listed["b"]["description"] == "hello"
    for name in ("a", "b"):
        assert server.chat(name).status == 200
    assert set(server.running()) == {"a", "b"}


def test_numeric_ids(serve: Serve) -> None:
    """Better: `7:` is the model "7", and the others are not dropped."""
    stub = stub_command("stub")
    server = serve(f'models:\n  7: {{cmd: "{stub}"}}\n  a: {{cmd: "{stub}"}}\n')
    assert server.ask("POST", "/v1/rerank", '{"model":7}').status == 200
    assert server.running() == {"7": "ready"}
    assert server.chat("a").status == 200


def test_ports_are_counted(serve: Serve) -> None:
    """`startPort`, one more for each model that wants a port, in the order of their ids."""
    server = serve(
        f"models:\n{model('b', ttl=9)}{model('a')}  c: {{cmd: x, proxy: 'http://127.0.0.1:9'}}\n{model('d')}"
    )
    first = int(server.config_text.partition("startPort: ")[2].partition("\n")[0])
    ports = {}
    for name in "abd":
        assert server.chat(name).status == 200
        (row,) = server.ask("GET", "/running").json()["running"]
        ports[name] = int(row["proxy"].rpartition(":")[2])
    assert ports == {"a": first, "b": first + 1, "d": first + 2}


def test_the_body_goes_through_unread(server: Modelswap) -> None:
    """A megabyte of JSON arrives as it was sent."""
    body = json.dumps({"model": "typed", "pad": "x" * 1_000_000}).encode()
    answer = server.ask("POST", "/v1/rerank", body, {"Content-Type": "application/json"})
    assert answer.json()["received"] == len(body)
