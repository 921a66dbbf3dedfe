"""A real keeper, spoken to by hand: bad orders, deaf fronts, other releases, strays."""

from __future__ import annotations

import os
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from modelswap.keeper import protocol
from modelswap.keeper.protocol import Frame, FrameDecoder, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

SCRIPT = str(Path(protocol.__file__).with_name("__main__.py"))


class HandFront:
    """A front that says exactly what the test wants."""

    def __init__(self, folder: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(30)
        self.socket.connect(str(folder / protocol.SOCKET_NAME))
        self._decoder = FrameDecoder()
        self._frames: list[Frame] = []
        self.output = b""

    def send(self, kind: str, **fields: object) -> None:
        self.socket.sendall(encode(kind, **fields))

    def hello(self, grace: float = 20.0) -> Mapping[str, object]:
        self.send("hello", version=protocol.VERSION, grace=grace)
        return self.until("welcome")

    def spawn(self, run: int, script: str) -> Mapping[str, object]:
        env = {"PATH": os.environ["PATH"]}
        facts = {"fingerprint": "f", "port": None}
        argv = ["sh", "-c", script]
        self.send("spawn", run=run, model="m", argv=argv, env=env, cwd="/", tag=facts)
        return self.until("spawned")

    def until(self, kind: str) -> Mapping[str, object]:
        while True:
            while self._frames:
                frame = self._frames.pop(0)
                self.output += frame.output
                if frame.message is not None and frame.message["kind"] == kind:
                    return frame.message
            data = self.socket.recv(65536)
            assert data, "the keeper hung up"
            self._frames += self._decoder.feed(data)

    def hear(self, text: bytes) -> None:
        """Wait until a server has said it."""
        while text not in self.heard():
            data = self.socket.recv(65536)
            assert data, "the keeper hung up"
            self._frames += self._decoder.feed(data)

    def heard(self) -> bytes:
        return self.output + b"".join(frame.output for frame in self._frames)

    def is_hung_up_on(self) -> bool:
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionResetError:
            return True
        return True


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    argv = [sys.executable, "-I", "-S", SCRIPT, str(tmp_path), "20"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == protocol.READY_LINE
        yield process
        process.kill()


@pytest.fixture
def connect(keeper: subprocess.Popen[bytes], tmp_path: Path) -> Iterator[Callable[[], HandFront]]:
    del keeper  # it has to be there
    fronts: list[HandFront] = []

    def make() -> HandFront:
        fronts.append(HandFront(tmp_path))
        return fronts[-1]

    yield make
    for front in fronts:
        front.socket.close()


def test_socket_is_private(keeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """Only the owner can reach the socket."""
    assert keeper.poll() is None
    assert (tmp_path / protocol.SOCKET_NAME).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "nonsense",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        encode("dance"),
        encode("spawn", run="x"),
        encode("spawn", run=1, model="m", argv=["x"], env={}, cwd="/", tag={}),
    ],
)
def test_nonsense_ends_the_connection_only(
    connect: Callable[[], HandFront], nonsense: bytes
) -> None:
    """A peer that speaks nonsense, or gives orders before its hello, is dropped; others go on."""
    good = connect()
    good.hello()
    bad = connect()
    bad.socket.sendall(nonsense)
    assert bad.is_hung_up_on()
    good.spawn(1, "exit 0")
    assert good.until("exited")["code"] == 0


def test_newest_front_wins(connect: Callable[[], HandFront]) -> None:
    """A second hello takes over, with the runs that are there; the first is dropped."""
    first = connect()
    first.hello()
    pid = first.spawn(1, "sleep 1000")["pid"]
    second = connect()
    welcome = second.hello()
    assert first.is_hung_up_on()
    (run,) = protocol.items(welcome, "runs")
    assert protocol.whole(protocol.mapping(run), "pid") == pid
    assert welcome["next_run"] == 2
    second.send("stop_all", grace=5)
    assert second.until("exited")["code"] == -15


def test_front_that_never_reads(
    connect: Callable[[], HandFront], keeper: subprocess.Popen[bytes]
) -> None:
    """A front that fetches nothing holds up no server, and costs a bounded amount of memory."""
    front = connect()
    front.hello()
    script = "head -c 30000000 /dev/zero; echo done"
    pid = protocol.whole(front.spawn(1, script), "pid")
    end = time.monotonic() + 30
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < end, "held up"
        time.sleep(0.01)
    status = Path(f"/proc/{keeper.pid}/status").read_text()
    assert int(status.partition("VmHWM:")[2].split()[0]) < 20_000
    front.until("exited")
    assert front.output.endswith(b"done\n")
    assert len(front.output) < 2_000_000


def test_stop_all_does_not_wait_for_the_deaf(
    connect: Callable[[], HandFront], keeper: subprocess.Popen[bytes]
) -> None:
    """`stop_all` asks, waits its grace, kills, and then the keeper ends by itself."""
    front = connect()
    front.hello()
    front.spawn(1, 'trap "" TERM; echo deaf; while :; do sleep 0.05; done')
    front.hear(b"deaf")
    front.send("stop_all", grace=0.2)
    assert front.until("exited")["code"] == -9
    assert keeper.wait(30) == 0


def test_no_new_server_while_stopping(
    connect: Callable[[], HandFront], keeper: subprocess.Popen[bytes]
) -> None:
    """A start that comes behind a stop of everything is refused, not lost."""
    front = connect()
    front.hello()
    front.spawn(1, 'trap "" TERM; echo deaf; while :; do sleep 0.05; done')
    front.hear(b"deaf")
    front.send("stop_all", grace=0.3)
    front.send("spawn", run=2, model="n", argv=["true"], env={}, cwd="/", tag={})
    assert "stopping" in str(front.until("spawn_failed")["reason"])
    assert keeper.wait(30) == 0


def test_idle_keeper_leaves_with_its_front(
    connect: Callable[[], HandFront], keeper: subprocess.Popen[bytes]
) -> None:
    """Without servers there is nothing to keep: the keeper ends at once when the front leaves."""
    front = connect()
    front.hello(grace=1000)
    front.socket.close()
    assert keeper.wait(30) == 0


def test_keeper_is_alone(keeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """A second keeper in the same directory waits for the first to leave, then takes over."""
    argv = [sys.executable, "-I", "-S", SCRIPT, str(tmp_path), "0.1"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as second:
        assert second.stdout is not None
        assert select.select([second.stdout], [], [], 0.3)[0] == []
        keeper.send_signal(signal.SIGTERM)
        assert second.stdout.readline() == protocol.READY_LINE
        assert second.wait(30) == 0
    assert not (tmp_path / protocol.SOCKET_NAME).exists()


def test_imports_little_of_modelswap() -> None:
    """The keeper runs on the standard library, `procfs` and `c_library`."""
    code = (
        "import sys; sys.path.append(sys.argv[1]); import modelswap.keeper.supervisor;"
        "print([m for m in sys.modules if m.startswith('modelswap.') and '.keeper' not in m])"
    )
    parent = str(Path(SCRIPT).parents[2])
    argv = [sys.executable, "-I", "-S", "-c", code, parent]
    found = subprocess.check_output(argv, text=True).strip()
    assert found == "['modelswap.procfs', 'modelswap.c_library']"


def test_no_descriptors_left(
    connect: Callable[[], HandFront], keeper: subprocess.Popen[bytes]
) -> None:
    """A start for which no descriptor is left fails as that start; the front stays connected."""
    front = connect()
    front.hello()
    before = resource.prlimit(keeper.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(keeper.pid, resource.RLIMIT_NOFILE, (3, before[1]))
    front.send("spawn", run=1, model="n", argv=["true"], env={}, cwd="/", tag={})
    assert "Too many open files" in str(front.until("spawn_failed")["reason"])
    resource.prlimit(keeper.pid, resource.RLIMIT_NOFILE, before)
    front.spawn(2, "exit 0")
    assert front.until("exited")["code"] == 0


def test_stray_without_any_trace(
    connect: Callable[[], HandFront], keeper: subprocess.Popen[bytes]
) -> None:
    """An orphan that wiped its environment and left its session ends when the last run has."""
    front = connect()
    front.hello()
    front.spawn(1, "(env -i setsid sleep 1000 &) ; sleep 0.3; exit 0")
    front.until("exited")
    end = time.monotonic() + 30
    while any("sleep" in child.name() for child in psutil.Process(keeper.pid).children()):
        assert time.monotonic() < end, "left behind"
        time.sleep(0.01)


LAST_PID = Path("/proc/sys/kernel/ns_last_pid")


@pytest.mark.skipif(not os.access(LAST_PID, os.W_OK), reason="may not choose a process number")
def test_the_number_of_an_orphan_that_has_gone_may_be_reused(
    connect: Callable[[], HandFront],
) -> None:
    """A signal for a run reaches what it left behind, not who has got that number since."""
    front = connect()
    front.hello()
    front.spawn(1, "(sh -c 'echo orphan $$; exec sleep 1000' &) ; exec sleep 1000")
    front.hear(b"\n")
    orphan = int(front.heard().split()[1])
    front.spawn(2, "exit 0")  # its end has the keeper look whose the orphans are
    front.until("exited")
    os.kill(orphan, signal.SIGKILL)
    foreign = _sleeper(orphan)
    try:
        front.send("signal", run=1, how=protocol.TERMINATE)
        front.until("exited")
        assert foreign.poll() is None
    finally:
        foreign.kill()
        foreign.wait()


def _sleeper(pid: int) -> subprocess.Popen[bytes]:
    """A process of ours with that number, which has to be free by then."""
    for _ in range(200):
        LAST_PID.write_text(str(pid - 1))
        process = subprocess.Popen(["sleep", "1000"])
        if process.pid == pid:
            return process
        process.kill()
        process.wait()
        time.sleep(0.01)
    pytest.skip("the number was never free: a busy machine")
