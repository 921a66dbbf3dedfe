"""The local launcher with real processes: start, readiness, stop, wrappers, output."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from modelswap.core.failure import Cause, failure
from modelswap.core.spec import ServerId
from modelswap.keeper.protocol import ProtocolError
from modelswap.launch.local import exits, readiness
from modelswap.launch.local.keeper_client.link import Keeper
from modelswap.launch.local.launcher import LocalLauncher
from modelswap.launch.protocol import AlreadyRunningError, Exit, LaunchError, LaunchSpec

M = ServerId("m")
MakeSpec = Callable[..., LaunchSpec]


def children_states(pid: int) -> list[str]:
    return [child.status() for child in psutil.Process(pid).children()]


def parent_of(pid: int) -> int:
    return psutil.Process(pid).ppid()


def peak_memory(pid: int) -> int:
    """Kilobytes of resident memory at the worst moment."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


async def test_life(launcher: LocalLauncher, news: Any, spec: MakeSpec) -> None:
    """A start is told as started and ready, a stop as exited by SIGTERM, in that order."""
    launcher.start(spec())
    pid = await news.until("started")
    await news.until("ready")
    assert os.getpgid(pid) == pid
    launcher.terminate(M)
    assert await news.until("exited") == Exit(signal=15, reason="killed by signal 15")
    assert not psutil.pid_exists(pid)


async def test_many_runs_leave_no_zombie(
    launcher: LocalLauncher, news: Any, spec: MakeSpec
) -> None:
    """After twenty starts and ends the keeper has no child but its guard, and no zombie."""
    for round_ in range(20):
        launcher.start(spec(check=None))
        pid = await news.until("started")
        keeper = parent_of(pid)
        (launcher.kill if round_ % 2 else launcher.terminate)(M)
        await news.until("exited")
        assert children_states(keeper) == [psutil.STATUS_SLEEPING]


async def test_missing_program(launcher: LocalLauncher, news: Any, spec: MakeSpec) -> None:
    """What cannot be executed is reported with its name, and without the rest of the command line."""
    launcher.start(spec(argv=("/nowhere/server", "secret")))
    ending = await news.until("exited")
    why = failure(Cause.PROGRAM_NOT_FOUND, "cannot start: /nowhere/server: no such file")
    assert ending == Exit(reason=why.text, failure=why)


@pytest.mark.parametrize("argv", [("sh", "a\0b"), ("sh", "-c", "exit 3")])
async def test_bad_start_is_an_exit(
    launcher: LocalLauncher, news: Any, spec: MakeSpec, argv: tuple[str, ...]
) -> None:
    """A null character or an early exit ends the start; the launcher goes on."""
    launcher.start(spec(argv=argv))
    ending = await news.until("exited")
    assert ending.code == 3 or "NUL character" in ending.reason
    launcher.start(spec())
    await news.until("ready")


async def test_environment_and_directory(
    launcher: LocalLauncher, news: Any, spec: MakeSpec, tmp_path: Path, mark: str
) -> None:
    """The spec's variables come on top of ours, and it runs where it says, with null input."""
    script = 'echo "$A|$HOME|$PWD|$(cat)|"; exec sleep 100'
    launcher.start(
        spec(argv=("sh", "-c", script), env=("A=1=2", mark), cwd=str(tmp_path), check=None)
    )
    home = os.environ.get("HOME", "")
    await news.until_output(f"1=2|{home}|{tmp_path}||\n".encode())


async def test_probe_waits_for_200(launcher: LocalLauncher, news: Any, spec: MakeSpec) -> None:
    """An answer other than 200 does not make a server ready."""
    launcher.start(spec("unready"))
    await news.until_output(b"listening")
    await asyncio.sleep(0.1)
    assert [kind for kind, _, _ in news.news] == ["started"]


async def test_hung_probe_has_its_own_deadline(
    launcher: LocalLauncher, news: Any, spec: MakeSpec
) -> None:
    """A first look that is accepted and never answered does not keep the second from coming."""
    launcher.start(spec("mute"))
    await news.until("ready")


async def test_deaf_server_needs_the_kill(
    launcher: LocalLauncher, news: Any, spec: MakeSpec
) -> None:
    """A server that ignores SIGTERM lives until the kill, and dies then."""
    launcher.start(spec("deaf"))
    await news.until("ready")
    launcher.terminate(M)
    await asyncio.sleep(0.1)
    assert not news.news
    launcher.kill(M)
    assert (await news.until("exited")).signal == 9


async def test_foreign_process_on_the_port(
    launcher: LocalLauncher, news: Any, spec: MakeSpec, server: Path, port: int
) -> None:
    """A healthy server of another program on the port does not count; the start fails as a clash."""
    foreign = subprocess.Popen(  # noqa: ASYNC220 - started and waited for at once
        [sys.executable, "-I", "-S", str(server), str(port), "0", "plain"], stdout=subprocess.PIPE
    )
    try:
        assert foreign.stdout is not None
        foreign.stdout.readline()
        launcher.start(spec(argv=("sleep", "100")))
        ending = await news.until("exited")
        assert ending.retryable
        assert ending.reason.startswith("its port is taken by another program")
        assert str(foreign.pid) not in ending.reason
        assert f"port {port} is held by another process".encode() in news.output
        launcher.start(spec())
        assert (await news.until("exited")).retryable, "could not bind"
    finally:
        foreign.kill()
        foreign.communicate()
    launcher.start(spec())
    await news.until("ready")


async def test_a_foreign_process_that_had_the_port_for_a_moment(
    launcher: LocalLauncher, news: Any, shell_spec: MakeSpec
) -> None:
    """A server that says that it could not bind has met a clash, whatever held the port."""
    for said in ("OSError: [Errno 98] Address already in use", "couldn't bind HTTP server socket"):
        launcher.start(shell_spec(f'echo "{said}" >&2; exit 1'))
        assert (await news.until("exited")).retryable, said
    launcher.start(shell_spec("echo 'out of memory' >&2; exit 1"))
    assert not (await news.until("exited")).retryable


async def test_wrapper_that_exits(
    launcher: LocalLauncher, news: Any, shell_spec: MakeSpec, survivors: Callable[[], list[int]]
) -> None:
    """When a wrapper leaves its server behind, the run goes on with it, and ends with it."""
    launcher.start(shell_spec("$SERVER & exit 0"))
    await news.until("ready")
    assert len(survivors()) == 1
    launcher.terminate(M)
    assert (await news.until("exited")).code == 0
    assert survivors() == []


async def test_grandchild_in_its_own_session(
    launcher: LocalLauncher, news: Any, shell_spec: MakeSpec, survivors: Callable[[], list[int]]
) -> None:
    """A grandchild that left group, session and parent ends with its server."""
    launcher.start(shell_spec("setsid sh -c 'setsid sleep 1000 & sleep 1000' & exec $SERVER"))
    await news.until("ready")
    assert len(survivors()) > 1
    launcher.terminate(M)
    await news.until("exited")
    assert survivors() == []


async def test_crash_takes_the_workers(
    launcher: LocalLauncher, news: Any, shell_spec: MakeSpec, survivors: Callable[[], list[int]]
) -> None:
    """When the main process is killed, its workers go too before the exit is told."""
    launcher.start(shell_spec("setsid sleep 1000 & sleep 1000 & exec $SERVER"))
    pid = await news.until("started")
    await news.until("ready")
    os.kill(pid, signal.SIGKILL)
    assert (await news.until("exited")).signal == 9
    assert survivors() == []


async def test_wrapper_whose_server_dies(
    launcher: LocalLauncher, news: Any, shell_spec: MakeSpec
) -> None:
    """A main process that ends well but leaves only helpers behind, none of which serves, has ended."""
    script = "sleep 1000 & $SERVER & S=$!; read -r _; sleep 0.4; kill $S; wait $S; exit 0"
    launcher.start(shell_spec(script))
    await news.until("ready")
    ending = await news.until("exited")
    assert ending.code == 0
    assert "the server has gone" in ending.reason


async def test_stop_command(launcher: LocalLauncher, news: Any, spec: MakeSpec) -> None:
    """The stop command gets the pid; its output goes into the model's log."""
    stop = ("sh", "-c", "echo stopping ${PID}; kill -9 ${PID}")
    launcher.start(spec("deaf", stop_command=stop))
    pid = await news.until("started")
    await news.until("ready")
    launcher.terminate(M)
    assert (await news.until("exited")).signal == 9
    assert f"stopping {pid}\n".encode() in news.output


@pytest.mark.parametrize("stop", [("sh", "-c", "exit 4"), ("/nowhere/stop",)])
async def test_failing_stop_command(
    launcher: LocalLauncher, news: Any, spec: MakeSpec, stop: tuple[str, ...]
) -> None:
    """A stop command that fails or cannot start is told, and followed by SIGTERM."""
    launcher.start(spec(stop_command=stop))
    await news.until("ready")
    launcher.terminate(M)
    said = f"could not be started: {stop[0]}: no such file" if len(stop) == 1 else "ended with 4"
    what = f"the stop command {said}; sending SIGTERM"
    assert await news.until("trouble") == what
    assert what.encode() in news.output
    assert (await news.until("exited")).signal == 15


async def test_hanging_stop_command(
    launcher: LocalLauncher, news: Any, spec: MakeSpec, survivors: Callable[[], list[int]]
) -> None:
    """A stop command that hangs is gone once the kill has ended the server."""
    launcher.start(spec(stop_command=("sh", "-c", "echo hanging; sleep 1000")))
    await news.until("ready")
    launcher.terminate(M)
    await news.until_output(b"hanging")
    launcher.kill(M)
    assert (await news.until("exited")).signal == 9
    async with asyncio.timeout(30):
        while survivors():  # noqa: ASYNC110 - foreign processes have no event
            await asyncio.sleep(0.01)


async def test_flood_is_bounded(launcher: LocalLauncher, news: Any, spec: MakeSpec) -> None:
    """Fifty megabytes while we look away: the server is not held up, the keeper stays small."""
    script = "import os\nfor _ in range(800): os.write(1, b'x' * 65536)\nos.write(1, b'end')"
    launcher.start(spec(argv=(sys.executable, "-I", "-c", script), check=None))
    pid = await news.until("started")
    keeper = parent_of(pid)
    os.kill(pid, 0)
    while psutil.pid_exists(pid):
        pass  # the loop is blocked: a front that does not fetch
    peak = peak_memory(keeper)
    assert (await news.until("exited")).code == 0
    assert peak < 20_000
    assert news.output.endswith(b"end")
    assert b"bytes of output dropped]" in news.output
    assert len(news.output) < 4 << 20


async def test_second_front(launcher: LocalLauncher, state: Path, news: Any) -> None:
    """A second front on the same state directory is told so, and the first is not disturbed."""
    del launcher  # the first
    with pytest.raises(AlreadyRunningError, match="another modelswap is running"):
        await LocalLauncher(state, news).open()


async def test_stop_before_spawned(launcher: LocalLauncher, news: Any, spec: MakeSpec) -> None:
    """A stop right behind the start ends it, without its ever being ready."""
    launcher.start(spec(delay=0.05))
    launcher.terminate(M)
    await news.until("started")
    assert (await news.until("exited")).signal == 15


async def test_unprobeable_url(launcher: LocalLauncher, news: Any, spec: MakeSpec) -> None:
    """An address to which nothing can be sent ends the start with the reason."""
    launcher.start(spec(url="ftp://127.0.0.1:99999"))
    assert "must start with http://" in (await news.until("exited")).reason


async def test_long_state_directory(tmp_path: Path, news: Any, spec: MakeSpec) -> None:
    """A state directory far longer than a socket address works, twice."""
    folder = tmp_path / ("d" * 120) / ("e" * 120)
    folder.mkdir(parents=True)
    first = LocalLauncher(folder, news)
    await first.open()
    first.start(spec())
    await news.until("ready")
    await first.close(stop_servers=False)
    second = LocalLauncher(folder, news)
    await second.open()
    assert [one.server for one in second.found_servers()] == ["m"]
    await second.close(stop_servers=True)


async def test_start_without_keeper_fails_honestly(
    launcher: LocalLauncher, news: Any, spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When no keeper can be had, a start ends with a reason instead of waiting for ever."""
    launcher.start(spec())
    pid = await news.until("started")
    await news.until("ready")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    monkeypatch.setattr("modelswap.launch.local.keeper_client.session.sweep", _nothing_to_sweep)
    os.kill(parent_of(pid), signal.SIGKILL)
    await news.until("exited")
    launcher.start(spec())
    assert "keeper cannot be started" in (await news.until("exited")).reason


async def test_keeper_that_speaks_nonsense(
    launcher: LocalLauncher, news: Any, spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start for which the keeper makes no sense ends with a reason, and the next one works."""
    launcher.start(spec())
    pid = await news.until("started")
    await news.until("ready")
    os.kill(parent_of(pid), signal.SIGKILL)
    await news.until("exited")

    async def nonsense(_: object) -> None:
        raise ProtocolError("not JSON")

    with monkeypatch.context() as patch:
        patch.setattr(Keeper, "connect", nonsense)
        launcher.start(spec())
        assert (await news.until("exited")).reason == "the keeper cannot be started"
        assert b"not JSON" in news.output
    launcher.start(spec())
    await news.until("ready")


async def _nothing_to_sweep(keeper: str) -> None:
    del keeper


async def test_error_is_a_launch_error() -> None:
    """The front can catch one class for all that keeps a launcher from opening."""
    assert issubclass(AlreadyRunningError, LaunchError)


async def test_the_loop_does_not_wait_for_who_has_a_port(
    launcher: LocalLauncher, news: Any, spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop goes on while it is asked who listens, and while it is found out why a server ended."""
    for module, name in ((readiness, "foreign_process_on"), (exits, "exit_of")):
        monkeypatch.setattr(module, name, LoopNeeded(getattr(module, name)))
    launcher.start(spec())
    pid = await news.until("started")
    await news.until("ready")
    os.kill(pid, signal.SIGKILL)
    ending: Exit = await news.until("exited")
    assert ending.failure is not None
    assert ending.failure.cause is Cause.KILLED


class LoopNeeded:
    """A function that returns only after the loop has run something."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._loop = asyncio.get_running_loop()

    def __call__(self, *args: object) -> object:
        has_run = threading.Event()
        self._loop.call_soon_threadsafe(has_run.set)
        assert has_run.wait(30), "it was called on the loop"
        return self._function(*args)


async def test_a_server_is_shown_its_gpus(
    launcher: LocalLauncher, news: Any, spec: MakeSpec
) -> None:
    """The variables of its placement reach the process; those of the model win, and adoption does not see them."""
    argv = ("sh", "-c", 'echo "[$CUDA_VISIBLE_DEVICES $HIP_VISIBLE_DEVICES]"; exec sleep 60')
    plain = spec(argv=argv, env=("HIP_VISIBLE_DEVICES=1",))
    placed = spec(
        argv=argv,
        env=("HIP_VISIBLE_DEVICES=1",),
        device_env=("CUDA_VISIBLE_DEVICES=GPU-aa", "HIP_VISIBLE_DEVICES=0"),
    )
    assert placed.fingerprint == plain.fingerprint
    launcher.start(placed)
    await news.until_output(b"[GPU-aa 1]\n")
    launcher.kill(M)
    await news.until("exited")
