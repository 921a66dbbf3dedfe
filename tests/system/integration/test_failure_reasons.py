"""Why a model did not start: reported to the client, in the log, `/running`, `/v1/models` and events."""

from __future__ import annotations

import json
import os
import shlex
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

import anthropic
import openai
import pytest

from support.server import Modelswap, engine_command, stub_command, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from support.running import StartServer

INFER, READ, ADMIN = "key-that-infers", "key-that-reads", "key-that-may-all"
KEYS = f"""
apiKeys:
  - {{name: infer, key: {INFER}, scopes: [inference]}}
  - {{name: read, key: {READ}, scopes: [read, inference]}}
  - {{name: boss, key: {ADMIN}, scopes: [admin]}}
"""


def printing(text: str, end: str = "exit 1") -> str:
    """A command whose server prints a text and ends."""
    return json.dumps(
        f"sh -c {shlex.quote(f'printf %s {shlex.quote(text)} >&2; {end}')} x ${{PORT}}"
    )


def events_status(server: Modelswap, key: str = "") -> dict[str, dict[str, Any]]:
    """The models of the first `modelStatus` event, by id."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    connection = HTTPConnection("127.0.0.1", server.port, timeout=10)
    with closing(connection):
        connection.request("GET", "/api/events", headers=headers)
        for line in connection.getresponse():
            if line.startswith(b"data:") and b'"modelStatus"' in line:
                rows = json.loads(json.loads(line[5:])["data"])
                return {row["id"]: row for row in rows}
    raise AssertionError("no modelStatus came")


def listed(server: Modelswap, name: str, key: str = "") -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    rows = server.ask("GET", "/v1/models", headers=headers).json()["data"]
    return next(row["status"] for row in rows if row["id"] == name)


def chat(server: Modelswap, model: str, key: str) -> Any:
    body = json.dumps({"model": model, "messages": []}).encode()
    return server.ask("POST", "/v1/chat/completions", body, {"Authorization": f"Bearer {key}"})


def message(answer: Any) -> str:
    found: str = answer.json()["error"]["message"]
    return found


def moment(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    assert found.tzinfo is not None
    return found


def check_everywhere(server: Modelswap, name: str, line: str, kind: str, *, retry: bool) -> None:
    """Check that the response and every other place report the same failure."""
    answer = server.chat(name)
    assert (answer.status, answer.json()["error"]["code"]) == (503, "model_load_failed")
    assert message(answer).startswith("the model could not be loaded: ")
    assert line in message(answer)
    assert answer.headers["x-should-retry"] == ("true" if retry else "false")
    assert int(answer.headers["retry-after"]) >= 1

    again = server.chat(name)  # while it backs off, or after another start
    assert line in message(again)
    assert again.headers["x-should-retry"] == answer.headers["x-should-retry"]

    status = listed(server, name)
    assert (status["value"], status["failed"], status["class"]) == ("failed", True, kind)
    assert line in status["reason"]
    (row,) = [r for r in server.ask("GET", "/running").json()["failed"] if r["model"] == name]
    assert line in row["reason"]
    assert row["class"] == kind
    shown = events_status(server)[name]
    assert (shown["state"], shown["failure_class"]) == ("stopped", kind)
    assert line in shown["failure"]
    assert status["failed_at"] == row["failed_at"] == shown["failed_at"]
    if "retry_at" in status:
        assert moment(status["retry_at"]) > moment(status["failed_at"])
    wait_until(
        lambda: line in log_lines_of(server, f"<{name}> stopped: "), what="the log has the line"
    )


def log_lines_of(server: Modelswap, start: str) -> str:
    """The lines of the log with a beginning, behind it."""
    lines = (row.partition(start) for row in server.log().splitlines())
    return "\n".join(after for _, found, after in lines if found)


def test_what_a_real_engine_says(
    modelswap_server: StartServer, weights: dict[str, Path], tmp_path: Path
) -> None:
    """A wrong path, an unknown flag, a missing mmproj, a truncated and a foreign file: the line."""
    red = weights["red"]
    cut, foreign = tmp_path / "cut.gguf", tmp_path / "foreign.gguf"
    cut.write_bytes(red.read_bytes()[: red.stat().st_size // 2])
    foreign.write_text("hello")
    gone = tmp_path / "gone.gguf"
    server = modelswap_server(f"""
models:
  path: {{cmd: {json.dumps(engine_command(gone))}}}
  flag: {{cmd: {json.dumps(engine_command(red, "--no-such-flag"))}}}
  mmproj: {{cmd: {json.dumps(engine_command(red, "--mmproj", str(gone)))}}}
  cut: {{cmd: {json.dumps(engine_command(cut))}}}
  foreign: {{cmd: {json.dumps(engine_command(foreign))}}}
""")
    check_everywhere(
        server, "path", f"cannot read the model '{gone}'", "file_not_found", retry=False
    )
    check_everywhere(server, "flag", "unknown flag --no-such-flag", "unknown_argument", retry=False)
    said = f"failed to open GGUF file '{gone}' (No such file or directory)"
    check_everywhere(server, "mmproj", said, "file_not_found", retry=False)
    said = "data is not within the file bounds, model is corrupted or incomplete"
    check_everywhere(server, "cut", said, "bad_model", retry=False)
    check_everywhere(server, "foreign", "is not a GGUF model", "bad_model", retry=False)


OOM = "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 35533.34 MiB on device 0: cudaMalloc failed: out of memory"
AFTER = "\nsrv load_model: failed to load model\nmain: exiting due to model loading error\n"
IN_USE = "OSError: [Errno 98] Address already in use"


@pytest.mark.parametrize(
    ("output", "end", "line", "kind", "retry"),
    [
        (OOM + AFTER, "exit 1", f"{OOM} (exited with code 1)", "out_of_memory", True),
        ("error: invalid argument: --foo\n", "exit 1", "--foo", "unknown_argument", False),
        (
            "hello\nlast words",
            "exit 3",
            "exited with code 3; its output: last words",
            "exited",
            False,
        ),
        ("", "exit 3", "exited with code 3", "exited", False),
        ("loading\n", "kill -9 $$", "for lack of memory; its output: loading", "killed", True),
        ("loading\n", "kill -11 $$", "killed by signal 11; its output: loading", "crashed", False),
        ("loading\n", "exit 137", "exited with code 137, perhaps", "killed", True),
        ("", "no-such-program-at-all", "no-such-program-at-all", "program_not_found", False),
    ],
)
def test_what_a_server_says(
    modelswap_server: StartServer, output: str, end: str, line: str, kind: str, *, retry: bool
) -> None:
    """The line that matters, its class, and whether another try helps."""
    server = modelswap_server(f"models: {{m: {{cmd: {printing(output, end)}}}}}\n")
    check_everywhere(server, "m", line, kind, retry=retry)


def test_a_fixed_port_that_is_taken(modelswap_server: StartServer) -> None:
    """An address in use is told as such, and may be free at the next try."""
    fixed = printing(IN_USE).replace(" x ${PORT}", "")
    server = modelswap_server(f"models: {{m: {{cmd: {fixed}, proxy: 'http://127.0.0.1:9'}}}}\n")
    check_everywhere(server, "m", f"{IN_USE} (exited", "address_in_use", retry=True)


@pytest.mark.parametrize(
    ("command", "said", "kind"),
    [
        (
            "llama-serverr --port ${PORT}",
            "cannot start: llama-serverr: not found (no such program on the PATH)",
            "program_not_found",
        ),
        (
            "/no/such/engine --port ${PORT}",
            "cannot start: /no/such/engine: no such file",
            "program_not_found",
        ),
        ("/tmp ${PORT}", "cannot start: /tmp: it is a folder, not a program", "permission_denied"),  # noqa: S108 - a folder
        ("/etc/passwd ${PORT}", "/etc/passwd: it is not executable", "permission_denied"),
    ],
)
def test_a_program_that_cannot_be_started(
    modelswap_server: StartServer, command: str, said: str, kind: str
) -> None:
    """It is named, and so is what is wrong with it; the rest of the command is not."""
    server = modelswap_server(f"models: {{m: {{cmd: '{command} --secret-flag'}}}}\n")
    check_everywhere(server, "m", said, kind, retry=False)
    assert b"--secret-flag" not in server.chat("m").body


def test_a_stop_command_that_is_not_there(modelswap_server: StartServer) -> None:
    """The log names it."""
    server = modelswap_server(
        f"models: {{m: {{cmd: {json.dumps(stub_command('m'))}, cmdStop: no-such-stopper}}}}\n"
    )
    assert server.chat("m").status == 200
    server.ask("POST", "/api/models/unload/m")
    said = "the stop command could not be started: no-such-stopper: not found"
    wait_until(lambda: said in server.log(), what="the log names it")


def test_which_keys_may_read_the_line(modelswap_server: StartServer) -> None:
    """An admin's 503 has the line; others get the class. `/v1/models` shows it to those who read logs."""
    line = "error: failed to open file '/secret/path/model.bin'"
    server = modelswap_server(f"{KEYS}\nmodels: {{m: {{cmd: {printing(line)}}}}}\n")
    phrase = "the model could not be loaded: a file was not found (exited with code 1)"
    assert message(chat(server, "m", INFER)) == phrase
    assert line in message(chat(server, "m", ADMIN))
    assert chat(server, "m", INFER).headers["x-should-retry"] == "false"
    assert listed(server, "m", INFER)["reason"] == "a file was not found (exited with code 1)"
    assert "/secret/path" not in json.dumps(listed(server, "m", INFER))
    for key in (READ, ADMIN):
        assert line in listed(server, "m", key)["reason"]
        assert line in events_status(server, key)["m"]["failure"]


def test_no_secret_in_the_line(modelswap_server: StartServer) -> None:
    """Keys of the configuration, and what stands where a key stands, are masked everywhere."""
    line = f"error: unrecognized arguments: {ADMIN} --hf-token hf_0123456789abcdef --api-key=sesame"
    server = modelswap_server(f"{KEYS}\nmodels: {{m: {{cmd: {printing(line)}}}}}\n")
    answer = chat(server, "m", ADMIN)
    assert "unrecognized arguments: ***" in message(answer)
    headers = {"Authorization": f"Bearer {ADMIN}"}
    running = json.loads(server.ask("GET", "/running", headers=headers).body)["failed"]
    shown = "".join(
        (
            message(answer),
            json.dumps(running),
            json.dumps(listed(server, "m", ADMIN)),
            json.dumps(events_status(server, ADMIN)["m"]),
            server.ask("GET", "/logs", headers=headers).body.decode(),
        )
    )
    assert "stopped: error: unrecognized arguments: ***" in shown
    assert not [s for s in (ADMIN, "hf_0123456789abcdef", "sesame") if s in shown]


NOT_READY = """
healthCheckTimeout: 15
models:
  missing: {{cmd: {missing}, checkEndpoint: /no/such/path}}
  elsewhere: {{cmd: 'sh -c "echo listening on port 1; sleep 60" x ${{PORT}}'}}
groups: {{both: {{swap: false, members: [missing, elsewhere]}}}}
"""


def test_what_the_probe_saw(modelswap_server: StartServer) -> None:
    """Not ready in time: what the check endpoint did instead, with and without its address."""
    python = json.dumps("python3 -m http.server ${PORT} --bind 127.0.0.1")
    server = modelswap_server(KEYS + NOT_READY.format(missing=python))
    with ThreadPoolExecutor(2) as pool:  # the least time to get ready is 15 s
        answer, elsewhere = pool.map(lambda m: chat(server, m, ADMIN), ("missing", "elsewhere"))
    said = message(answer)
    assert "not ready within " in said
    assert "/no/such/path last answered 404 (expected 200); set `checkEndpoint`" in said
    assert "http://" in said
    assert answer.headers["x-should-retry"] == "false"
    assert (
        "last answered 404"
        in server.ask("GET", "/logs", headers={"Authorization": f"Bearer {ADMIN}"}).body.decode()
    )
    other = message(chat(server, "missing", INFER))
    assert "the check endpoint /no/such/path last answered 404" in other
    assert "http://" not in other
    assert "last refused the connection" in message(elsewhere)
    assert message(elsewhere).endswith("its output: listening on port 1")
    assert elsewhere.headers["x-should-retry"] == "true"
    assert "listening on port" not in message(chat(server, "elsewhere", INFER))


def test_a_server_that_exits_later(modelswap_server: StartServer) -> None:
    """Its output since it was ready is the reason; the next start or an unload clears it."""
    server = modelswap_server(f"models: {{m: {{cmd: {json.dumps(stub_command('m'))}}}}}\n")
    assert server.chat("m").status == 200
    (pid,) = server.model_pids()
    os.kill(pid, signal.SIGSEGV)
    wait_until(lambda: listed(server, "m")["value"] == "failed", what="it has ended")
    status = listed(server, "m")
    assert (status["class"], "retry_at" in status) == ("crashed", False)
    assert "killed by signal 11" in status["reason"]
    assert "<m> stopped: killed by signal 11" in server.ask("GET", "/logs").body.decode()
    assert server.chat("m").status == 200
    assert listed(server, "m") == {"value": "loaded"}
    assert "failed" not in server.ask("GET", "/running").json()
    server.ask("POST", "/api/models/unload")
    assert listed(server, "m") == {"value": "unloaded"}
    assert "failure" not in events_status(server)["m"]


# What clients may try again


def hints(answer: Any) -> tuple[int, str | None, bool]:
    return answer.status, answer.headers.get("x-should-retry"), "retry-after" in answer.headers


def test_errors_that_another_try_cannot_mend(modelswap_server: StartServer) -> None:
    """Wrong key, no right, unknown model or path, bad request: `x-should-retry: false`."""
    server = modelswap_server(f"{KEYS}\nlimits: {{body: 1MiB}}\nmodels: {{}}\n")
    bearer = {"Authorization": f"Bearer {INFER}"}
    path = "/v1/chat/completions"
    found = [
        hints(server.ask("POST", path, b'{"model":"m"}', {"Authorization": "Bearer wrong"})),
        hints(server.ask("GET", "/running", headers=bearer)),
        hints(server.ask("POST", path, b'{"model":"m"}', bearer)),
        hints(server.ask("GET", "/no/such/path")),
        hints(server.ask("PUT", "/health")),
        hints(server.ask("POST", path, b"{", bearer)),
        hints(server.ask("POST", path, b" " * (2 << 20), bearer)),
    ]
    assert [status for status, _, _ in found] == [401, 403, 404, 404, 405, 400, 413]
    assert {hint for _, hint, _ in found} == {"false"}
    for request, status in ((b"GET\r\n\r\n", 400), (b"GET /" + b"a" * 70_000, 414)):
        head = server.raw(request).partition(b"\r\n\r\n")[0].lower()
        assert head.startswith(b"http/1.1 %d" % status)
        assert b"x-should-retry: false" in head


def test_errors_that_a_wait_mends(modelswap_server: StartServer) -> None:
    """Over a limit: `Retry-After` and `x-should-retry: true`."""
    server = modelswap_server("apiKeys: [{name: slow, key: slow-key, rateLimit: 1}]\nmodels: {}\n")
    headers = {"Authorization": "Bearer slow-key"}
    server.ask("GET", "/v1/models", headers=headers)
    assert hints(server.ask("GET", "/v1/models", headers=headers)) == (429, "true", True)


@pytest.mark.parametrize(("output", "tries"), [("error: invalid argument: --foo", 1), (OOM, 3)])
def test_official_clients_obey(modelswap_server: StartServer, output: str, tries: int) -> None:
    """The SDKs of OpenAI and Anthropic retry only where a retry can help."""
    server = modelswap_server(f"models: {{m: {{cmd: {printing(output)}}}}}\n")

    def requests() -> int:
        return server.log().count(' HTTP/1.1" 503 ')

    with (
        openai.OpenAI(base_url=f"{server.base_url}/v1", api_key="none", max_retries=2) as client,
        pytest.raises(openai.InternalServerError, match="could not be loaded"),
    ):
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])
    wait_until(lambda: requests() == tries, what="OpenAI's tries are logged")
    with (
        anthropic.Anthropic(base_url=server.base_url, api_key="none", max_retries=2) as other,
        pytest.raises(anthropic.InternalServerError, match="could not be loaded"),
    ):
        other.messages.create(model="m", max_tokens=1, messages=[{"role": "user", "content": "x"}])
    wait_until(lambda: requests() == 2 * tries, what="Anthropic's tries are logged")
