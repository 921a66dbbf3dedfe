"""No secret of a configuration is in anything that the program prints, answers or writes."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import urllib.parse
from typing import TYPE_CHECKING

import pytest

from support.raw_http import JSON, bearer, dialled
from support.server import ROOT, answer_of, stub_command

if TYPE_CHECKING:
    from pathlib import Path

    from support.server import Modelswap
    from support.streams import RecordingPeer, Serve

SECRETS = {
    "plain key": "plainkey-5f1c",
    "record key": "recordkey-77aa",
    "filed key": "filedkey-0b0b",
    "env in cmd": "envcmd-91d2",
    "env in cmdStop": "envstop-31d2",
    "env in env": "envenv-44e7",
    "env in proxy": "envproxy-8c31",
    "env in macro": "envmacro-2f90",
    "env in peer key": "envpeer-6a6a",
    "peer key": "peerkey-d00d",
    "env in setParams": "envset-9f9f",
    "env in key": "envkey-7e7e",
    "wrong key": "guessedkey-1234",
    "client header": "clienttoken-4242",
}
S = SECRETS
SHOWN = "shown-on-purpose"
"""`name`, `description` and `metadata` are there to be read: who puts a variable there shows it."""
ENV = {
    "E_CMD": S["env in cmd"], "E_STOP": S["env in cmdStop"], "E_ENV": S["env in env"],
    "E_PROXY": S["env in proxy"], "E_MACRO": S["env in macro"], "E_PEER": S["env in peer key"],
    "E_META": SHOWN, "E_SET": S["env in setParams"],
    "E_DESC": SHOWN, "E_KEY": S["env in key"],
}  # fmt: skip


def config(peer: RecordingPeer, directory: Path) -> str:
    file = directory / "key"
    file.write_text(S["filed key"])
    return f"""
logLevel: debug
captureBuffer: 5
store: {{path: "{directory}/activity.db"}}
macros:
  secret: "${{env.E_MACRO}}"
apiKeys:
  - {S["plain key"]}
  - {{name: record, key: {S["record key"]}}}
  - {{name: filed, keyFile: "{file}"}}
  - "${{env.E_KEY}}"
models:
  real:
    cmd: {stub_command("real")} --journal {directory}/${{env.E_CMD}}${{secret}}.txt
    cmdStop: sh -c "kill $0 # ${{env.E_STOP}}" ${{PID}}
    env: ["TOKEN=${{env.E_ENV}}"]
    description: "${{env.E_DESC}}"
    metadata: {{hint: "${{env.E_META}}"}}
    filters: {{setParams: {{token: "${{env.E_SET}}"}}}}
  broken:
    cmd: /no/such/program --key ${{env.E_CMD}} --port ${{PORT}}
    proxy: http://localhost:${{PORT}}/${{env.E_PROXY}}
  dying:
    cmd: sh -c "echo ${{env.E_CMD}} >&2; exit 3" ${{PORT}}
peers:
  far: {{proxy: "{peer.url}", models: [remote], apiKey: {S["peer key"]}}}
  other: {{proxy: "{peer.url}", models: [second], apiKey: "${{env.E_PEER}}"}}
"""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("secrets")


@pytest.fixture(scope="module")
def server(serve: Serve, peer: RecordingPeer, directory: Path) -> Modelswap:
    return serve(config(peer, directory), env=ENV)


def found_in(text: bytes | str, *, but: tuple[str, ...] = ()) -> list[str]:
    """Names of the secrets in a text, plain, percent-encoded or in base64."""
    data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    found = []
    for name, value in SECRETS.items():
        forms = {value.encode(), base64.b64encode(value.encode())[:-4], value.encode()[::-1]}
        forms.add(urllib.parse.quote(value).encode())
        if name not in but and any(form in data for form in forms):
            found.append(name)
    return found


def test_no_response_shows_a_secret(  # noqa: C901 - one list of everything
    server: Modelswap, directory: Path
) -> None:
    """Logs, events, lists, activity, captures, metrics, errors, files and command lines hold no secret."""
    key = bearer(S["plain key"])
    client = {**key, "X-Auth-Token": S["client header"], "Cookie": f"a={S['client header']}"}
    chat = "/v1/chat/completions"
    with dialled(server, 5) as events:
        events.sendall(
            f"GET /api/events HTTP/1.1\r\nHost: localhost\r\n"
            f"Authorization: Bearer {S['plain key']}\r\n\r\n".encode()
        )
        printed: dict[str, bytes] = {}
        for model in ("real", "broken", "dying", "remote", "second", "nobody"):
            answer = server.ask("POST", chat, {"model": model, "n": 1}, client)
            # the stub and the peer see the request as it must be; what they echo is theirs
            printed[f"chat {model}"] = answer.body
        for path in (
            "/running", "/v1/models", "/models", "/v1/models/real", "/logs", "/metrics",
            "/api/metrics/activity", "/api/metrics/stats", "/api/metrics/export?format=csv",
            "/api/metrics/export", "/api/inflight", "/api/config/status", "/api/profiles",
            "/api/performance", "/api/version", "/api/captures/1", "/api/captures/2",
            "/api/captures/4", "/upstream/broken/x", "/nothing", "/api/hardware", "/ui/",
        ):  # fmt: skip
            printed[path] = server.ask("GET", path, headers=client).body
        for number in range(1, 12):
            shown = server.ask("GET", f"/api/captures/{number}", headers=client)
            if shown.status == 200:
                item = shown.json()
                # the body that went to the model holds what `setParams` put there: captures show bodies
                item["req_body"] = None
                printed[f"capture {number}"] = json.dumps(item).encode()
        for wrong in ({"Authorization": f"Bearer {S['wrong key']}"}, {"X-Api-Key": S["wrong key"]}):
            printed[f"refusal {wrong}"] = server.ask("GET", "/running", headers=wrong).body
        printed["bad request"] = server.raw(
            f"GET / HTTP/1.1\r\nHost: x\r\nX-Api-Key: {S['plain key']}\r\n bad\r\n\r\n".encode()
        )
        server.ask("POST", "/api/config/reload", headers=key)
        server.ask("POST", "/api/models/unload", headers=key)
        events.shutdown(1)
        printed["/api/events"] = answer_of(events)
    assert b"modelStatus" in printed["/api/events"]
    assert any(name.startswith("capture ") for name in printed)
    printed["/logs again"] = server.ask("GET", "/logs", headers=key).body
    printed["standard output"] = server.log_file.read_bytes()
    for file in server.state_dir.rglob("*"):
        if file.is_file():
            printed[f"state {file.name}"] = file.read_bytes()
    for file in directory.glob("activity.db*"):
        printed[file.name] = file.read_bytes()
    for pid, line in server.processes().items():
        if pid == server.pid or "modelswap/keeper" in line:
            printed[f"command line of {line[:60]}"] = line.encode()
    assert len([name for name in printed if name.startswith("command line")]) >= 2
    leaks = {where: names for where, text in printed.items() if (names := found_in(text))}
    assert leaks == {}


def test_files_are_for_their_owner(server: Modelswap) -> None:
    """Other users cannot reach sockets and state."""
    assert server.state_dir.stat().st_mode & 0o077 == 0


def test_check_prints_no_secret(peer: RecordingPeer, directory: Path) -> None:
    """Neither a good configuration nor one with a mistake beside every secret."""
    good = config(peer, directory)
    bad = (
        good.replace("captureBuffer: 5", "captureBuffer: many")
        .replace("    cmdStop:", "    ttl: soon\n    colour: ${env.E_META}\n    cmdStop:")
        .replace("apiKey: peer", "apiKy: peer")
        .replace(f"  - {S['plain key']}", f"  - {S['plain key']} {S['record key']}")
    )
    for text in (good, bad):
        file = directory / "config.yaml"
        file.write_text(text)
        for flags in ([], ["--strict"]):
            done = subprocess.run(
                [sys.executable, "-m", "modelswap", "check", *flags, str(file)],
                capture_output=True, check=False, timeout=30, cwd=ROOT,
                env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT / "src"), **ENV},
            )  # fmt: skip
            assert done.stdout + done.stderr
            assert found_in(done.stdout + done.stderr) == []


def test_a_peer_gets_its_own_key_and_not_the_clients(
    server: Modelswap, peer: RecordingPeer
) -> None:
    """The client's key is not passed on; a peer's key goes to that peer."""
    server.ask("POST", "/v1/embeddings", {"model": "remote"}, {**JSON, **bearer(S["plain key"])})
    assert peer.last.header("Authorization") == f"Bearer {S['peer key']}"
    assert peer.last.header("X-Api-Key") == S["peer key"]
    assert S["plain key"] not in repr(peer.last)


LITERALS = (
    "sk-literal-42",
    "hf_literal42",
    "tok-literal-42",
    "env-literal-42",
    "bearer-literal-42",
)


def test_secrets_written_into_commands(serve: Serve) -> None:
    """Values behind `--api-key` and the like show nowhere, also when the server prints its own command."""
    stub = stub_command("real")
    words = (
        f"--api-key {LITERALS[0]} --hf-token {LITERALS[1]} --token={LITERALS[2]} "
        f"-e HF_TOKEN={LITERALS[3]} --header 'Authorization: Bearer {LITERALS[4]}' --api-key one"
    )
    text = f"models:\n  real:\n    cmd: |\n      sh -c 'echo started with $*; exec {stub}' sh {words}\n"
    server = serve(f"logToStdout: both\n{text}")
    with dialled(server, 10) as events:
        events.sendall(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert server.chat("real").status == 200
        (item,) = server.ask("GET", "/running").json()["running"]
        assert "--api-key *** --hf-token *** --token=*** -e HF_TOKEN=***" in item["cmd"]
        assert "Bearer ***' --api-key ***" in item["cmd"]
        printed = {path: server.ask("GET", path).body for path in ("/running", "/logs")}
        assert b"started with --api-key *** --hf-token ***" in printed["/logs"]
        server.ask("POST", "/api/models/unload")
        events.shutdown(1)
        printed["events"] = answer_of(events)
    assert b"started with" in printed["events"]
    printed["standard output"] = server.log_file.read_bytes()
    done = subprocess.run(
        [sys.executable, "-m", "modelswap", "check", str(server.config_file)],
        capture_output=True, check=True, timeout=30, cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    printed["check"] = done.stdout + done.stderr
    for where, said in printed.items():
        assert [value for value in LITERALS if value.encode() in said] == [], where
        assert b"--api-key one" not in said, where
