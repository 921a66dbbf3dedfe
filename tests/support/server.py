"""The real program, started as a user starts it; no process of it is left.

`Modelswap` runs `python -m modelswap serve` with a state directory of its own.
Every process that descends from it carries an environment variable, by which it is
found after its parents have ended.
Guarantees: a test that leaves a process behind fails.
Does not: import modelswap.
"""

from __future__ import annotations

import http.client
import itertools
import json
import os
import random
import shlex
import signal
import socket
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
STUB = ROOT / "tests" / "support" / "stub.py"
MARKER = "MODELSWAP_TEST_MARKER"
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_blocks = itertools.count(random.SystemRandom().randrange(100))


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def free_block(size: int = 40) -> int:
    """The first of some neighbouring ports below the ephemeral range, free a moment ago.

    Each worker has a range of its own: a model that starts late would find its port taken by a test
    beside it.
    """
    while True:
        first = 10_000 + (_worker % 5 * 100 + next(_blocks) % 100) * size
        try:
            for port in range(first, first + 8):
                socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return first


def stub_command(name: str, *flags: str, port: str = "${PORT}") -> str:
    """The `cmd` of a model served by the stub."""
    command = [sys.executable, "-I", "-S", str(STUB), "--name", name, *flags]
    return f"{shlex.join(command)} --port {port}"


def engine_command(weights: Path, *flags: str) -> str:
    """The `cmd` of a model served by the real engine from PyPI."""
    command = [sys.executable, "-m", "modelswap.engine", "--model", str(weights), *flags]
    return f"{shlex.join(command)} --host 127.0.0.1 --port ${{PORT}}"


def stub_config(*names: str, extra: str = "", flags: tuple[str, ...] = ()) -> str:
    """A configuration with one stub per name, swapping as by default."""
    models = "".join(f"  {name}:\n    cmd: {stub_command(name, *flags)}\n" for name in names)
    return f"{extra}\nmodels:\n{models}"


def pids_marked(marker: str) -> dict[int, str]:
    """Every living process with the marker in its environment: pid → command line."""
    needle = f"{MARKER}={marker}".encode()
    found: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if needle in (entry / "environ").read_bytes():
                line = (
                    (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                )
                found[int(entry.name)] = line.strip()
        except OSError:
            continue  # ended meanwhile, or not ours
    return found


def parent_of(pid: int) -> int:
    """The parent's process id; 0 when the process is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def answer_of(sock: socket.socket) -> bytes:
    """Everything until the other side closes."""
    pieces: list[bytes] = []
    while True:
        try:
            piece = sock.recv(65536)
        except ConnectionResetError:
            break
        if not piece:
            break
        pieces.append(piece)
    return b"".join(pieces)


def streaming(port: int, fields: dict[str, object]) -> socket.socket:
    """Ask for a streamed chat; the connection, with the first event read."""
    body = json.dumps({**fields, "stream": True}).encode()
    sock = socket.create_connection(("127.0.0.1", port), timeout=30)
    sock.sendall(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    received = b""
    while b"data:" not in received:
        piece = sock.recv(65536)
        assert piece, received
        received += piece
    return sock


def wait_until(true: Any, seconds: float = 30.0, what: str = "") -> Any:
    """Poll until the callable returns a true value; fail after the time.

    The default is only an upper bound for a machine that hangs: a quarter of pytest's limit for one
    test.
    """
    deadline = time.monotonic() + seconds
    while not (value := true()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what or true}")
        time.sleep(0.01)
    return value


def command(
    *arguments: str, directory: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `modelswap` until it ends; *env* is added to the environment."""
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src"), **(env or {})}
    return subprocess.run(
        [sys.executable, "-m", "modelswap", *arguments],
        capture_output=True,
        text=True,
        timeout=20,
        cwd=directory,
        env=env,
        check=False,
    )


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer, read to its end."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(slots=True)
class Modelswap:
    """One `modelswap serve` process and all that it starts."""

    directory: Path
    config_text: str
    """Empty: it is started without a configuration, in its own directory."""
    flags: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    program: tuple[str, ...] = ("-m", "modelswap")
    """What Python runs."""
    marker: str = field(default_factory=lambda: uuid.uuid4().hex)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        if self.config_text:
            self.write_config(self.config_text)

    @property
    def config_file(self) -> Path:
        return self.directory / "config.yaml"

    @property
    def state_dir(self) -> Path:
        return self.directory / "state"

    @property
    def log_file(self) -> Path:
        return self.directory / "modelswap.log"

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self.process is not None, "not started"
        return self.process.pid

    def write_config(self, text: str) -> None:
        """Replace the configuration file; ports of its own unless the text says otherwise."""
        if "startPort" not in text:
            text = f"startPort: {free_block()}\n{text}"
        self.config_text = text
        self.config_file.write_text(text)

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start the process without waiting for it."""
        command = [sys.executable, *self.program, "serve"]
        if self.config_text:
            command += ["--config", str(self.config_file)]
        command += ["--listen", f"127.0.0.1:{self.port}", "--state-dir", str(self.state_dir)]
        path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]))
        env = {**os.environ, "PYTHONPATH": path, **self.environment, MARKER: self.marker}
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *self.flags],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=env,
                cwd=self.directory if not self.config_text else None,
            )
        return self.process

    def start(self, seconds: float = 60.0) -> Modelswap:
        """Start the process and wait until it answers on `/health`."""
        process = self.spawn()
        deadline = time.monotonic() + seconds
        while not self._is_healthy():
            if process.poll() is not None:
                raise AssertionError(f"ended with {process.returncode}:\n{self.log()}")
            if time.monotonic() > deadline:
                raise AssertionError(f"no answer on /health:\n{self.log()}")
            time.sleep(0.005)
        return self

    def _is_healthy(self) -> bool:
        try:
            return self.ask("GET", "/health", seconds=2).status == 200
        except OSError:
            return False

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: dict[str, str] | None = None,
        *,
        seconds: float = 30.0,
    ) -> Answer:
        """One request on a connection of its own; a dict goes out as JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        sent = dict(headers or {})
        data = body
        if isinstance(body, dict | list):
            data = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        assert data is None or isinstance(data, bytes | str)
        try:
            connection.request(method, path, data, sent)
            reply = connection.getresponse()
            names = {name.lower(): value for name, value in reply.getheaders()}
            return Answer(reply.status, names, reply.read())
        finally:
            connection.close()

    def chat(self, model: str, *, seconds: float = 30.0, **fields: object) -> Answer:
        """A small chat completion."""
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}], **fields}
        return self.ask("POST", "/v1/chat/completions", body, seconds=seconds)

    def running(self) -> dict[str, str]:
        """What `/running` says: model → state."""
        rows = self.ask("GET", "/running").json()["running"]
        return {row["model"]: row["state"] for row in rows}

    def stub_state(self, model: str) -> dict[str, Any]:
        """What the stub behind a model has seen; starts it if need be."""
        found = self.ask("GET", f"/upstream/{model}/stub/state").json()
        assert isinstance(found, dict)
        return found

    def raw(self, data: bytes, *, seconds: float = 30.0) -> bytes:
        """Send bytes as they are; everything that comes back until the other side closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as sock:
            sock.sendall(data)
            return answer_of(sock)

    def log(self) -> str:
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def last_words(self, size: int = 4000) -> str:
        """Return the end of its logs and its running processes, for a failed test."""
        try:
            models = self.ask("GET", "/logs", seconds=2).body.decode(errors="replace")
        except OSError as error:
            models = f"no /logs: {error!r}"
        alive = "".join(f"{pid}: {line}\n" for pid, line in self.processes().items())
        return f"{self.log()[-size:]}\n--- /logs\n{models[-size:]}\n--- alive\n{alive}"

    def processes(self) -> dict[int, str]:
        """Every process of this server that is alive: the front, the keeper, the models."""
        return pids_marked(self.marker)

    def keeper_pid(self) -> int:
        """The supervisor's process id."""
        found = [pid for pid, line in self.processes().items() if "keeper/__main__.py" in line]
        found = [
            pid for pid in found if parent_of(pid) not in found
        ]  # a child that has yet to exec
        assert len(found) == 1, f"one keeper expected: {self.processes()}"
        return found[0]

    def model_pids(self) -> dict[int, str]:
        """The processes that are neither the front nor the keeper."""
        everyone = self.processes().items()
        return {p: line for p, line in everyone if p != self.pid and not _is_of_the_keeper(line)}

    def kill(self) -> None:
        """Kill the front as a crash would."""
        assert self.process is not None, "not started"
        self.process.kill()
        self.process.wait(30)

    def stop(self, seconds: float = 40.0) -> int:
        """Ask the front to stop; its exit code."""
        assert self.process is not None, "not started"
        self.process.terminate()
        return self.process.wait(seconds)

    def finish(self, seconds: float = 30.0) -> dict[int, str]:
        """Stop all processes; return those that did not end in time and were killed."""
        try:
            if self.process is not None and self.process.poll() is None:
                self.stop()
        except subprocess.TimeoutExpired:
            seconds = 0.0
        deadline = time.monotonic() + seconds
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.02)
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if self.process is not None:
            self.process.wait(30)
        return left


def _is_of_the_keeper(line: str) -> bool:
    """The keeper and what it starts for itself, by the command line."""
    return "modelswap/keeper" in line
