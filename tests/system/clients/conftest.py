"""A model that loads until it is told to go on, and the JavaScript clients."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from support.server import stub_command, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.running import StartServer
    from support.server import Modelswap

JS = Path(__file__).parent / "js"
SOON = "loading: {grace: 0.2, pulse: 0.1}"
Conversation = tuple[str, dict[str, Any]]


@dataclass(slots=True)
class GatedServer:
    """A model `a` that keeps loading until `open` or `fail`."""

    server: Modelswap
    gate: Path

    def open(self) -> None:
        self.gate.write_text("open")

    def fail(self) -> None:
        self.gate.write_text("fail")

    def wait_for_requests(self, count: int) -> None:
        """Wait until so many requests are in flight."""
        wait_until(lambda: self.in_flight() >= count, what=f"{count} requests wait")

    def in_flight(self) -> int:
        return len(self.server.ask("GET", "/api/inflight").json()["requests"])


class StartGated(Protocol):
    def __call__(self, extra: str = SOON, model_extra: str = "") -> GatedServer: ...


@pytest.fixture
def gated(modelswap_server: StartServer, tmp_path: Path) -> StartGated:
    """Start the program with one such model; it leaves its load by the state of a file."""
    gate = tmp_path / "gate"

    def begin(extra: str = SOON, model_extra: str = "") -> GatedServer:
        script = tmp_path / "gated.sh"
        script.write_text(
            f"until [ -s {gate} ]; do sleep 0.02; done\n"
            f"grep -q open {gate} || exit 3\n"
            f"exec {stub_command('a', port='$1')}\n"
        )
        model = f"  a:\n    cmd: sh {script} ${{PORT}}\n{model_extra}"
        return GatedServer(modelswap_server(f"{extra}\nmodels:\n{model}"), gate)

    return begin


class RawClient:
    """A raw client that sees every byte of its stream."""

    def __init__(
        self, gated: GatedServer, path: str = "/v1/chat/completions", **fields: object
    ) -> None:
        body = json.dumps({"model": "a", "messages": [], "stream": True, **fields}).encode()
        self._sock = socket.create_connection(("127.0.0.1", gated.server.port), timeout=30)
        self._sock.sendall(
            b"POST %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            b"Origin: http://localhost:3000\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
            % (path.encode(), len(body), body)
        )
        self._got = b""

    def until(self, mark: bytes, times: int = 1) -> None:
        while self._got.count(mark) < times:
            if not self._more():
                raise EOFError(self._got)

    def _more(self) -> bool:
        piece = self._sock.recv(65536)
        self._got += piece
        return bool(piece)

    def see_keep_alives(self) -> None:
        """Wait for two: every client that came before this one has got at least one."""
        self.until(b"data:", 2)

    def close(self) -> None:
        self._sock.close()

    @property
    def head(self) -> bytes:
        return self._got.partition(b"\r\n\r\n")[0]

    def rest(self) -> bytes:
        """The whole body, after the end, without its framing."""
        while self._more():
            pass
        body, text = self._got.partition(b"\r\n\r\n")[2], b""
        if b"chunked" not in self.head.lower():
            return body
        while body:
            size, _, body = body.partition(b"\r\n")
            text += body[: int(size, 16)]
            body = body[int(size, 16) + 2 :]
        return text


class Connect(Protocol):
    def __call__(
        self, gated: GatedServer, path: str = "/v1/chat/completions", **fields: object
    ) -> RawClient: ...


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Connect raw clients that ask for a stream."""
    clients: list[RawClient] = []

    def begin(
        gated: GatedServer, path: str = "/v1/chat/completions", **fields: object
    ) -> RawClient:
        clients.append(RawClient(gated, path, **fields))
        return clients[-1]

    yield begin
    for client in clients:
        client.close()


class JavaScript:
    """Runs the official clients under Node, several requests at once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def begin(self, server: Modelswap, *conversations: Conversation) -> subprocess.Popen[str]:
        command = ["node", "conversations.mjs", server.base_url, "a", json.dumps(conversations)]
        return subprocess.Popen(command, cwd=self._directory, stdout=subprocess.PIPE, text=True)

    @staticmethod
    def answers(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
        printed, _ = process.communicate(timeout=30)
        assert process.returncode == 0, f"node ended with {process.returncode}: {printed!r}"
        found = json.loads(printed)
        assert isinstance(found, list)
        return found


def _installed(directory: Path) -> str:
    """Install the clients once per lock file and machine; what went wrong, or nothing."""
    if (directory / "node_modules").exists():
        return ""
    directory.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=directory.parent))
    for file in ("package.json", "package-lock.json"):
        shutil.copy(JS / file, fresh)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    command += [
        "--fetch-retry-mintimeout=500",
        "--fetch-retry-maxtimeout=2000",
    ]  # ms; 70 s by default
    try:
        done = subprocess.run(command, cwd=fresh, capture_output=True, timeout=120, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"npm does not work here: {error}"
    if done.returncode:
        shutil.rmtree(fresh)
        return "npm could not install the clients: no registry?"
    try:
        fresh.rename(directory)
    except OSError:  # another worker was first
        shutil.rmtree(fresh)
    return ""


@pytest.fixture(scope="session")
def javascript() -> JavaScript:
    """The official clients for Node, from npm; skipped where there is neither."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed: the JavaScript clients are not tried")
    version = hashlib.sha256((JS / "package-lock.json").read_bytes()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    directory = cache / "modelswap-tests" / f"js-{version}"
    wrong = _installed(directory)
    if wrong:
        pytest.skip(wrong)
    shutil.copy(JS / "conversations.mjs", directory)
    return JavaScript(directory)
