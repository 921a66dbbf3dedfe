"""The fleet on a launcher that is not local: another address, no pid, its own choice of ports."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from modelswap.config.load import load
from modelswap.core.commands import LeaseRequest
from modelswap.core.models.lifecycle import Phase
from modelswap.core.spec import ClientId, ModelId, ServerId
from modelswap.fleet import Fleet, ModelServer
from support.remote_launcher import HOST, RemoteLauncher
from support.server import ROOT, STUB, free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from modelswap.config.plan import Plan
    from modelswap.core.commands import Fail, SwapDecided
    from modelswap.launch.protocol import Listener

A, B = ModelId("a"), ModelId("b")
CLIENT = ClientId("c")
FIRST_PORT = 29_900


def config_of(folder: Path) -> Path:
    """Two models of one group, which swap; the stub listens where its command says."""
    models = {}
    for name in ("a", "b"):
        argv = [sys.executable, "-I", "-S", str(STUB), "--name", name, "--host", "127.0.0.1"]
        models[name] = {"cmd": f"{' '.join(argv)} --port ${{PORT}}"}
    file = folder / "config.yaml"
    file.write_text(json.dumps({"startPort": FIRST_PORT, "unloadTimeout": 2, "models": models}))
    return file


def plan_of(folder: Path) -> Plan:
    plan = load(config_of(folder), None).plan
    assert plan is not None
    return plan


class PhaseRecorder:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.phases: list[tuple[ModelId, Phase]] = []
        self.notes: list[str] = []

    def on_phase(self, model: ModelId, phase: Phase, why: str) -> None:
        del why
        self.phases.append((model, phase))

    def on_swap(self, decided: SwapDecided) -> None: ...
    def on_output(self, model: ModelId, data: bytes) -> None: ...

    def on_note(self, level: str, text: str) -> None:
        self.notes.append(f"{level}: {text}")


class FutureWaiter:
    """Waits for a lease as a future."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[ModelServer | Fail] = asyncio.get_running_loop().create_future()

    def on_granted(self, server: ModelServer) -> None:
        self.answer.set_result(server)

    def on_refused(self, refused: Fail) -> None:
        self.answer.set_result(refused)

    def on_position(self, position: int) -> None: ...


class FleetOnRemoteLauncher:
    """A real fleet on a remote launcher."""

    def __init__(self, plan: Plan, failing_starts: int) -> None:
        launchers: list[RemoteLauncher] = []

        def make(listener: Listener) -> RemoteLauncher:
            launchers.append(RemoteLauncher(listener, failing_starts=failing_starts))
            return launchers[0]

        self.observer = PhaseRecorder()
        self.fleet = Fleet(plan, plan.policy, make, self.observer)
        self.launcher = launchers[0]

    async def lease(self, model: ModelId) -> ModelServer:
        waiter = FutureWaiter()
        self.fleet.ask(LeaseRequest(model, CLIENT), waiter)
        async with asyncio.timeout(30):
            answer = await waiter.answer
        assert isinstance(answer, ModelServer), answer
        return answer

    async def serve(self, model: ModelId) -> str:
        """Take a lease, send one request where it leads, and end it; return the address."""
        server = await self.lease(model)
        reply = await asyncio.to_thread(get, server.address, "/stub/state")
        assert json.loads(reply)["name"] == model
        self.fleet.release(model)
        return server.address

    async def until(self, model: ModelId, phase: Phase) -> None:
        async with asyncio.timeout(30):
            while self.fleet.phase(model) is not phase:  # noqa: ASYNC110 - other processes' turn
                await asyncio.sleep(0.01)


def get(address: str, path: str) -> bytes:
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=30)
    connection.request("GET", path)
    reply = connection.getresponse().read()
    connection.close()
    return reply


@pytest.fixture
async def remote(
    tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[FleetOnRemoteLauncher]:
    one = FleetOnRemoteLauncher(plan_of(tmp_path), getattr(request, "param", 0))
    await one.fleet.open()
    yield one
    await one.fleet.close()
    assert one.launcher.processes == {}


async def test_the_address_comes_from_the_launcher(remote: FleetOnRemoteLauncher) -> None:
    """A server is used where the launcher says that it answers, and shown without a pid."""
    address = await remote.serve(A)
    port = urlsplit(address).port
    assert address.startswith(f"http://{HOST}:")
    assert port != FIRST_PORT
    ((shown, phase, pid),) = remote.fleet.running()
    assert (shown.id, shown.proxy, phase, pid) == (A, address, Phase.READY, None)
    assert "debug: <a> started, slot 1 of node-b" in remote.observer.notes


async def test_swap_on_remote_servers(remote: FleetOnRemoteLauncher) -> None:
    """The other model's server is stopped before this one starts, and each gets its requests."""
    await remote.serve(A)
    await remote.serve(B)
    assert remote.fleet.phase(A) is Phase.STOPPED
    assert list(remote.launcher.processes) == [ServerId("b")]
    await remote.serve(A)
    assert [spec.server for spec in remote.launcher.specs] == ["a", "b", "a"]


async def test_crash_on_a_remote_node(remote: FleetOnRemoteLauncher) -> None:
    """A server that dies by itself is reported once, and the next request starts another."""
    await remote.serve(A)
    remote.launcher.processes[ServerId("a")].kill()
    await remote.until(A, Phase.STOPPED)
    failed = remote.fleet.failure(A)
    assert failed is not None
    assert failed.why.text == "exited with code -9"
    assert remote.observer.phases.count((A, Phase.STOPPED)) == 1
    await remote.serve(A)


@pytest.mark.parametrize("remote", [2], indirect=True)
async def test_retryable_exits_are_tried_again(remote: FleetOnRemoteLauncher) -> None:
    """The request does not hear of a start that the launcher can do otherwise."""
    await remote.serve(A)
    assert [spec.server for spec in remote.launcher.specs] == ["a", "a", "a"]
    assert (A, Phase.STOPPED) not in remote.observer.phases
    assert remote.observer.notes[0] == "warn: <a> no slot on the node; starting it again"


@pytest.mark.parametrize("remote", [9], indirect=True)
async def test_retries_are_bounded(remote: FleetOnRemoteLauncher) -> None:
    """After four starts the failure is the model's."""
    waiter = FutureWaiter()
    remote.fleet.ask(LeaseRequest(A, CLIENT), waiter)
    async with asyncio.timeout(30):
        refused = await waiter.answer
    assert getattr(refused, "reason", None) == "load failed"
    assert len(remote.launcher.specs) == 4


async def test_unload(remote: FleetOnRemoteLauncher) -> None:
    """An unload returns when the server has exited; a stop without a pid works like any other."""
    await remote.serve(A)
    await remote.fleet.unload([A])
    assert remote.launcher.processes == {}
    assert remote.fleet.running() == []


PROGRAM = """
import sys
from pathlib import Path
from modelswap.app import program, start
from modelswap.app.options import Options
from support.remote_launcher import RemoteLauncher

program.gpu_memory = lambda: None
program.LocalLauncher = lambda directory, listener, **_: RemoteLauncher(listener)
start.start_ahead = lambda *_: None  # its servers are not the keeper's
start.serve(Options(config=Path(sys.argv[1]), config_dir=None, listen=sys.argv[2]))
"""


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Callable[[str, str], tuple[int, Any]]]:
    """The whole program on a remote launcher; `front(method, path)` sends a request to it."""
    port = free_port()
    paths = os.pathsep.join((str(ROOT / "src"), str(ROOT / "tests")))
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(config_of(tmp_path)), f"127.0.0.1:{port}"],
        env={**os.environ, "PYTHONPATH": paths, "XDG_STATE_HOME": str(tmp_path)},
        stdout=subprocess.DEVNULL,
    )

    def is_up() -> bool:
        with socket.socket() as one:
            return one.connect_ex(("127.0.0.1", port)) == 0

    def request(method: str, path: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request(method, path)
        reply = connection.getresponse()
        body = reply.read()
        connection.close()
        return reply.status, json.loads(body) if body.startswith(b"{") else body

    try:
        wait_until(is_up)
        yield request
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


def test_requests_through_the_program(front: Callable[[str, str], tuple[int, Any]]) -> None:
    """Requests pass to remote servers through a swap, a crash and an unload."""
    for name in ("a", "b", "b"):
        status, state = front("GET", f"/upstream/{name}/stub/state")
        assert (status, state["name"]) == (200, name)
    (shown,) = front("GET", "/running")[1]["running"]
    assert shown["proxy"].startswith(f"http://{HOST}:")
    assert shown["pid"] is None
    os.kill(front("GET", "/upstream/b/stub/state")[1]["pid"], signal.SIGKILL)
    wait_until(lambda: not front("GET", "/running")[1]["running"])
    assert front("GET", "/upstream/b/stub/state")[0] == 200
    assert front("POST", "/api/models/unload")[0] == 200
    assert front("GET", "/running")[1]["running"] == []
