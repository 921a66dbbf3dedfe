"""The stand-ins do what their names say; otherwise the tests that use them prove nothing."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from support.server import MARKER, STUB, Modelswap, free_port, pids_marked, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class RunningStub:
    """A stub process and one way to ask it."""

    def __init__(self, *flags: str) -> None:
        self.port = free_port()
        command = [sys.executable, "-I", "-S", str(STUB), "--port", str(self.port), *flags]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def ask(self, path: str, fields: object = None, seconds: float = 30) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        try:
            connection.request("POST" if fields else "GET", path, json.dumps(fields))
            reply = connection.getresponse()
            return reply.status, json.loads(reply.read())
        finally:
            connection.close()

    def status(self) -> int:
        """The answer to the probe; 0 while nobody listens."""
        try:
            return self.ask("/health")[0]
        except ConnectionError:
            return 0


@pytest.fixture
def stub(request: pytest.FixtureRequest) -> Iterator[RunningStub]:
    running = RunningStub(*getattr(request, "param", ()))
    yield running
    running.process.kill()
    running.process.wait()


def flags(*given: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("stub", [given], indirect=True)


@flags("--ready-after", "0.4", "--loading")
def test_a_loading_stub_answers_503_first(stub: RunningStub) -> None:
    """With `--loading` every path answers 503 until the stub is ready."""
    assert wait_until(stub.status) == 503
    assert wait_until(lambda: stub.status() == 200)


@flags("--ready-after", "0.4")
def test_a_starting_stub_refuses_connections(stub: RunningStub) -> None:
    """Without it nobody listens until then."""
    assert wait_until(stub.status) == 200


@flags("--deaf")
def test_a_deaf_stub_survives_sigterm(stub: RunningStub) -> None:
    """`--deaf` ignores SIGTERM."""
    wait_until(lambda: stub.status() == 200)
    stub.process.terminate()
    with pytest.raises(subprocess.TimeoutExpired):
        stub.process.wait(0.3)
    assert stub.status() == 200


def test_an_ordinary_stub_ends_at_sigterm(stub: RunningStub) -> None:
    """Without it SIGTERM ends the stub with code 0."""
    wait_until(lambda: stub.status() == 200)
    stub.process.terminate()
    assert stub.process.wait(30) == 0


@flags("--exit-after", "0.1", "--exit-code", "7")
def test_a_stub_that_exits(stub: RunningStub) -> None:
    """`--exit-after` ends the stub with the code asked for."""
    assert stub.process.wait(30) == 7


@flags("--hang-health")
def test_a_stub_that_hangs_its_probe(stub: RunningStub) -> None:
    """`--hang-health` never answers the probe, but everything else."""
    assert wait_until(lambda: reached(stub))
    with pytest.raises(TimeoutError):
        stub.ask("/health", seconds=0.2)


def reached(stub: RunningStub) -> bool:
    try:
        return stub.ask("/v1/models")[0] == 200
    except ConnectionError:
        return False


def test_the_echo_tells_what_arrived(stub: RunningStub) -> None:
    """An unknown path answers with what was received."""
    wait_until(lambda: stub.status() == 200)
    status, found = stub.ask("/any/path?q=1", {"model": "x"})
    assert status == 200
    assert (found["model"], found["path"], found["query"]) == ("x", "/any/path", "q=1")
    assert found["received"] == len(b'{"model": "x"}')


def test_a_process_left_behind_is_found_and_killed(tmp_path: Path) -> None:
    """`finish` reports a descendant that outlived the server, and ends it."""
    server = Modelswap(tmp_path, "models: {}\n")
    env = {**os.environ, MARKER: server.marker}
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env=env
    ) as left:
        wait_until(lambda: left.pid in pids_marked(server.marker))
        assert set(server.finish(seconds=0.1)) == {left.pid}
        assert left.wait(30) == -9
    assert pids_marked(server.marker) == {}
