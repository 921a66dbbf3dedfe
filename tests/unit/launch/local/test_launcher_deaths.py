"""Front, keeper, guard and servers die in every order: what survives, what must not."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from modelswap.core.spec import ServerId
from modelswap.keeper.protocol import SOCKET_NAME
from modelswap.launch.local.launcher import LocalLauncher
from modelswap.launch.protocol import LaunchSpec
from modelswap.units import Seconds

M = ServerId("m")
MakeSpec = Callable[..., LaunchSpec]

FRONT = """
import asyncio, json, sys
from pathlib import Path
from modelswap.units import Seconds
from modelswap.launch.protocol import LaunchSpec
from modelswap.launch.local.launcher import LocalLauncher

class Printer:
    def on_started(self, server, handle): print("started", handle.pid, flush=True)
    def on_ready(self, server, address): print("ready", server, flush=True)
    def on_exited(self, model, ending): print("exited", ending, flush=True)
    def on_output(self, model, data): pass
    def on_trouble(self, model, what): pass

async def main():
    facts = json.loads(sys.argv[2])
    launcher = LocalLauncher(Path(sys.argv[1]), Printer(), grace=float(sys.argv[3]))
    await launcher.open()
    launcher.start(LaunchSpec(**{k: tuple(v) if isinstance(v, list) else v for k, v in facts.items()}))
    await asyncio.sleep(1000)

asyncio.run(main())
"""


class Front:
    """A front in a process of its own, with one ready server."""

    def __init__(self, state: Path, spec: LaunchSpec, grace: float) -> None:
        import json  # noqa: PLC0415 - one use

        facts = {
            "server": spec.server,
            "argv": spec.argv,
            "env": spec.env,
            "url": spec.url,
            "port": spec.port,
            "check": spec.check,
        }
        argv = [sys.executable, "-c", FRONT, str(state), json.dumps(facts), str(grace)]
        env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[4] / "src")}
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, env=env, text=True)
        self.server = int(self._line("started").split()[1])
        self._line("ready")
        self.keeper = keeper_of(state)

    def _line(self, start: str) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith(start), line
        return line

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


def parent_of(pid: int) -> int:
    return psutil.Process(pid).ppid()


def keeper_of(state: Path) -> int:
    return next(pid for pid, words in command_lines() if words[-2:-1] == [str(state)])


def guard_of(keeper: int) -> int | None:
    guards = (pid for pid, words in command_lines() if "modelswap-guard" in words)
    return next((pid for pid in guards if parent_of(pid) == keeper), None)


def command_lines() -> Iterator[tuple[int, list[str]]]:
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            yield process.pid, process.cmdline()


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_for_end(pid: int) -> None:
    end = time.monotonic() + 30
    while is_alive(pid):
        assert time.monotonic() < end, "still alive"
        time.sleep(0.01)


@pytest.fixture
def front(state: Path) -> Iterator[Callable[..., Front]]:
    fronts: list[Front] = []

    def make(spec: LaunchSpec, grace: float = 20.0) -> Front:
        fronts.append(Front(state, spec, grace))
        return fronts[-1]

    yield make
    for one in fronts:
        one.kill()
        if is_alive(one.keeper):
            os.kill(one.keeper, signal.SIGCONT)
            os.kill(one.keeper, signal.SIGKILL)


async def test_killed_front_is_succeeded(
    front: Callable[..., Front], spec: MakeSpec, state: Path, news: Any
) -> None:
    """A server outlives a killed front and is adopted by the next: same process, still ready."""
    first = front(spec())
    first.kill()
    second = LocalLauncher(state, news)
    await second.open()
    assert [(one.server, one.handle.pid, one.handle.port) for one in second.found_servers()] == [
        ("m", first.server, spec().port)
    ]
    assert second.adopt(spec())
    assert await news.until("started") == first.server
    await news.until("ready")
    assert second.found_servers() == []
    await second.close(stop_servers=True)
    assert not is_alive(first.server)
    assert not is_alive(first.keeper)


async def test_changed_specification_is_not_adopted(
    front: Callable[..., Front], spec: MakeSpec, state: Path, news: Any
) -> None:
    """A server that this configuration would start otherwise is refused, and discarded on demand."""
    first = front(spec("deaf"))
    first.kill()
    second = LocalLauncher(state, news)
    await second.open()
    assert not second.adopt(replace(spec("deaf"), cwd="/"))
    assert not second.adopt(replace(spec("deaf"), server=ServerId("other")))
    os.kill(first.server, signal.SIGKILL)  # it is deaf; the test has no ten seconds
    await second.discard()
    assert second.found_servers() == []
    second.start(spec())
    await news.until("ready")
    await second.close(stop_servers=True)


async def test_output_is_kept_without_a_front(
    front: Callable[..., Front], spec: MakeSpec, state: Path, news: Any
) -> None:
    """What a server says while there is no front reaches the next one."""
    script = "echo one; sleep 0.5; echo two; exec sleep 1000"
    late = spec(argv=("sh", "-c", script), check=None)
    first = front(late)
    first.kill()
    second = LocalLauncher(state, news)
    await asyncio.sleep(0.7)
    await second.open()
    assert second.adopt(late)
    await news.until_output(b"two\n")
    await second.close(stop_servers=True)


async def test_front_gone_for_good(
    front: Callable[..., Front], shell_spec: MakeSpec, state: Path, gone: Callable[[], None]
) -> None:
    """After the grace nothing is left: no server, no grandchild, no keeper, no guard, no socket."""
    first = front(shell_spec("setsid sleep 1000 & $SERVER & wait"), grace=0.3)
    guard = guard_of(first.keeper)
    assert guard is not None
    first.kill()
    gone()
    wait_for_end(first.keeper)
    wait_for_end(guard)
    assert not (state / SOCKET_NAME).exists()


async def test_grace_lets_servers_live(front: Callable[..., Front], spec: MakeSpec) -> None:
    """Within the grace the server goes on without a front."""
    first = front(spec())
    first.kill()
    await asyncio.sleep(0.3)
    assert is_alive(first.server)


@pytest.mark.parametrize("attempt", range(3))
async def test_keeper_killed(
    launcher: LocalLauncher,
    *,
    news: Any,
    shell_spec: MakeSpec,
    spec: MakeSpec,
    survivors: Callable[[], list[int]],
    attempt: int,
) -> None:
    """A killed keeper takes servers and grandchildren along; the front says so and starts anew."""
    del attempt  # the same again: it is a race
    launcher.start(shell_spec("setsid sleep 1000 & $SERVER & wait"))
    pid = await news.until("started")
    await news.until("ready")
    os.kill(parent_of(pid), signal.SIGKILL)
    ending = await news.until("exited")
    assert ending.reason == "the keeper died"
    assert survivors() == []
    launcher.start(spec())
    await news.until("ready")


@pytest.mark.parametrize("order", ["front keeper", "keeper front"])
async def test_front_and_keeper_killed(
    front: Callable[..., Front], shell_spec: MakeSpec, gone: Callable[[], None], order: str
) -> None:
    """When both are killed, in either order, nothing is left at once."""
    first = front(shell_spec("setsid sleep 1000 & $SERVER & exit 0"))
    for who in order.split():
        if who == "front":
            first.kill()
        else:
            os.kill(first.keeper, signal.SIGKILL)
    gone()


async def test_guard_killed_first(
    front: Callable[..., Front], shell_spec: MakeSpec, gone: Callable[[], None]
) -> None:
    """A killed guard is replaced, so that a later death of all the others leaves nothing either."""
    first = front(shell_spec("setsid sleep 1000 & $SERVER & wait"))
    old = guard_of(first.keeper)
    assert old is not None
    os.kill(old, signal.SIGKILL)
    wait_for_end(old)
    async with asyncio.timeout(30):
        while guard_of(first.keeper) in {None, old}:  # noqa: ASYNC110 - a foreign process has no event
            await asyncio.sleep(0.01)
    first.kill()
    os.kill(first.keeper, signal.SIGKILL)
    gone()


async def test_keeper_terminated(
    front: Callable[..., Front], spec: MakeSpec, gone: Callable[[], None]
) -> None:
    """SIGTERM to the keeper stops all servers and ends it; SIGINT and SIGHUP do nothing."""
    first = front(spec())
    os.kill(first.keeper, signal.SIGINT)
    os.kill(first.keeper, signal.SIGHUP)
    await asyncio.sleep(0.1)
    assert is_alive(first.server)
    os.kill(first.keeper, signal.SIGTERM)
    gone()
    wait_for_end(first.keeper)


async def test_hung_keeper_is_replaced(
    front: Callable[..., Front],
    spec: MakeSpec,
    state: Path,
    news: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A keeper that accepts but does not answer is killed, its servers with it, and replaced."""
    monkeypatch.setattr("modelswap.launch.local.keeper_client.link._ANSWER_TIMEOUT", 0.3)
    first = front(spec())
    os.kill(first.keeper, signal.SIGSTOP)
    first.kill()
    second = LocalLauncher(state, news)
    await second.open()
    assert second.found_servers() == []
    wait_for_end(first.server)
    second.start(spec())
    await news.until("ready")
    await second.close(stop_servers=True)


async def test_hung_keeper_recovers_while_running(
    spec: MakeSpec, state: Path, news: Any, gone: Callable[[], None]
) -> None:
    """A keeper that stops taking orders is killed after a while; the next start has a new one."""
    launcher = LocalLauncher(state, news, order_timeout=Seconds(0.3))
    await launcher.open()
    launcher.start(spec())
    await news.until("ready")
    keeper = keeper_of(state)
    os.kill(keeper, signal.SIGSTOP)
    launcher.terminate(M)
    assert (await news.until("exited")).reason == "the keeper died"
    gone()
    launcher.start(spec())
    await news.until("ready")
    assert keeper_of(state) != keeper
    await launcher.close(stop_servers=True)


async def test_bug_in_a_watch_ends_one_server(
    launcher: LocalLauncher, news: Any, spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What goes wrong around one server is told as its end; the next start works."""

    async def broken(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr("modelswap.launch.local.launcher.wait_until_ready", broken)
        launcher.start(spec())
        assert (await news.until("exited")).reason == "it cannot be watched"
    launcher.start(spec())
    await news.until("ready")


async def test_many_fronts(
    front: Callable[..., Front], spec: MakeSpec, state: Path, news: Any
) -> None:
    """One server passes through ten fronts unharmed."""
    first = front(spec())
    first.kill()
    for _ in range(10):
        one = LocalLauncher(state, news)
        await one.open()
        assert one.adopt(spec())
        assert await news.until("started") == first.server
        await news.until("ready")
        await one.close(stop_servers=False)
    last = LocalLauncher(state, news)
    await last.open()
    await last.discard(M)
    assert not is_alive(first.server)
    await last.close(stop_servers=True)


async def test_parent_death_signal(
    front: Callable[..., Front], spec: MakeSpec, gone: Callable[[], None]
) -> None:
    """Where not even front and guard are left to sweep, a dead keeper still takes its servers along."""
    first = front(spec())
    guard = guard_of(first.keeper)
    assert guard is not None
    os.kill(first.keeper, signal.SIGSTOP)  # it must not replace its guard
    os.kill(guard, signal.SIGKILL)
    first.kill()
    os.kill(first.keeper, signal.SIGKILL)
    gone()
