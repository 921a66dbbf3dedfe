"""Real servers, a listener that remembers, and the promise that a test leaves no process behind."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from modelswap.core.spec import ServerId
from modelswap.launch.local.launcher import LocalLauncher
from modelswap.launch.protocol import Exit, Handle, LaunchSpec
from modelswap.units import Seconds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

M = ServerId("m")
SERVER = """
import os, signal, socket, sys, time
port, delay, mode = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
if "deaf" in mode:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
time.sleep(delay)
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("127.0.0.1", port))
s.listen(50)
print("listening", flush=True)
status = b"503 no" if "unready" in mode else b"200 OK"
kept = []
while True:
    c, _ = s.accept()
    if "mute" in mode and len(kept) < 1:
        kept.append(c)
        continue
    c.recv(4096)
    c.sendall(b"HTTP/1.1 " + status + b"\\r\\nContent-Length: 0\\r\\n\\r\\n")
    c.close()
"""


@dataclass
class Recorder:
    """A listener that keeps everything, in order."""

    news: list[tuple[str, str, object]] = field(default_factory=list)
    output: bytearray = field(default_factory=bytearray)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def _note(self, kind: str, server: ServerId, what: object) -> None:
        self.news.append((kind, server, what))
        self.changed.set()

    def on_started(self, server: ServerId, handle: Handle) -> None:
        self._note("started", server, handle.pid)

    def on_ready(self, server: ServerId, address: str) -> None:
        self._note("ready", server, address)

    def on_exited(self, server: ServerId, ending: Exit) -> None:
        self._note("exited", server, ending)

    def on_trouble(self, server: ServerId, what: str) -> None:
        self._note("trouble", server, what)

    def on_output(self, server: ServerId, data: bytes) -> None:  # noqa: ARG002 - one server at a time
        self.output += data
        self.changed.set()

    async def until(self, kind: str) -> Any:
        """Take the news up to the first of that kind; return what it carries."""
        async with asyncio.timeout(30):
            while True:
                while self.news:
                    found, _, what = self.news.pop(0)
                    if found == kind:
                        return what
                self.changed.clear()
                await self.changed.wait()

    async def until_output(self, wanted: bytes) -> None:
        async with asyncio.timeout(30):
            while wanted not in self.output:
                self.changed.clear()
                await self.changed.wait()


@pytest.fixture
def port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        number: int = one.getsockname()[1]
        return number


@pytest.fixture
def server(tmp_path: Path) -> Path:
    path = tmp_path / "server.py"
    path.write_text(SERVER)
    return path


@pytest.fixture
def spec(server: Path, port: int, mark: str) -> Callable[..., LaunchSpec]:
    def make(mode: str = "plain", delay: float = 0, **changes: Any) -> LaunchSpec:
        argv = (sys.executable, "-I", "-S", str(server), str(port), str(delay), mode)
        facts: dict[str, Any] = {"argv": argv, "url": f"http://127.0.0.1:{port}", "port": port}
        facts["env"] = (mark,)
        return LaunchSpec(server=ServerId("m"), **{**facts, **changes})

    return make


@pytest.fixture
def shell_spec(spec: Callable[..., LaunchSpec]) -> Callable[..., LaunchSpec]:
    """A shell script in which `$SERVER` is the command of a plain server."""

    def make(script: str, **changes: Any) -> LaunchSpec:
        command = " ".join(spec().argv)
        return spec(argv=("sh", "-c", script.replace("$SERVER", command)), **changes)

    return make


@pytest.fixture
def mark() -> str:
    return f"TEST_MARK=mark-{os.urandom(6).hex()}"


def marked(mark: str) -> list[int]:
    """Living processes that carry the mark of this test."""
    name, _, value = mark.partition("=")
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(name) == value:
                found.append(process.pid)
    return found


@pytest.fixture
def survivors(mark: str) -> Callable[[], list[int]]:
    return lambda: marked(mark)


@pytest.fixture
def gone(mark: str) -> Callable[[], None]:
    """Wait until no process of the test is left; fail after a while."""

    def wait() -> None:
        end = time.monotonic() + 30
        while marked(mark):
            assert time.monotonic() < end, "left behind"
            time.sleep(0.01)

    return wait


@pytest.fixture(autouse=True)
def leaves_nothing(gone: Callable[[], None]) -> Iterator[None]:
    yield
    gone()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir()
    return folder


@pytest.fixture
async def news() -> Recorder:
    return Recorder()


@pytest.fixture
async def launcher(state: Path, news: Recorder) -> AsyncIterator[LocalLauncher]:
    one = LocalLauncher(state, news, grace=Seconds(1.0))
    await one.open()
    yield one
    await one.close(stop_servers=True)
