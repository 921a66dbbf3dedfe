"""Missing resources: descriptors, disk, a reader of the output, ports, a writable home."""

from __future__ import annotations

import http.client
import os
import resource
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.load_clients import LoadClients
from support.server import free_block, parent_of, stub_command, stub_config, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.running import StartServer
    from support.server import Modelswap


def flood_of_requests(server: Modelswap, count: int) -> None:
    for _ in range(count):
        assert server.chat("a").status == 200


@contextmanager
def no_descriptors(server: Modelswap, *, spare: int, clients: int) -> Iterator[None]:
    """Clients that use up every descriptor that the front has left."""
    limit = len(list(Path(f"/proc/{server.pid}/fd").iterdir())) + spare
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (limit, limit))
    with ExitStack() as flood:
        for _ in range(clients):
            flood.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=5))
        time.sleep(0.3)
        yield


def test_no_descriptors_left(modelswap_server: StartServer) -> None:
    """Clients that use up every descriptor are refused; the front serves again when they disconnect."""
    server = modelswap_server(stub_config("a"))
    assert server.chat("a").status == 200
    with no_descriptors(server, spare=20, clients=60):
        os.kill(next(iter(server.model_pids())), signal.SIGKILL)
        time.sleep(0.3)
    wait_until(lambda: is_served(server), what="it serves again")
    assert server.process is not None
    assert server.process.poll() is None


def is_served(server: Modelswap) -> bool:
    try:
        return server.chat("a", seconds=10).status == 200
    except (OSError, http.client.HTTPException):  # its server died in the middle of the response
        return False


def test_no_descriptors_left_when_the_keeper_is_killed(modelswap_server: StartServer) -> None:
    """The keeper is killed while no descriptor is free: the next request starts a new one."""
    server = modelswap_server(stub_config("a"))
    assert server.chat("a").status == 200
    with no_descriptors(server, spare=10, clients=30):
        os.kill(server.keeper_pid(), signal.SIGKILL)
        time.sleep(1)
    wait_until(lambda: is_served(server), 30, what="it serves again")


def test_the_limit_is_raised_for_the_front_only(modelswap_server: StartServer) -> None:
    """The front may open as many files as the hard limit allows, its servers as many as before."""
    server = modelswap_server(stub_config("a"))
    assert server.chat("a").status == 200
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    front = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    engine = resource.prlimit(next(iter(server.model_pids())), resource.RLIMIT_NOFILE)
    assert front[0] == min(hard, 1 << 16) if hard != resource.RLIM_INFINITY else front[0] == 1 << 16
    assert engine == resource.getrlimit(resource.RLIMIT_NOFILE)


@pytest.mark.parametrize("how", ["closed", "full", "never read", "reader gone"])
def test_output_without_a_reader(modelswap_server: StartServer, how: str) -> None:
    """Standard output closed, full, blocked or abandoned: requests are served as before."""
    server = modelswap_server(
        stub_config("a", extra="logToStdout: both", flags=("--log-flood",)), start=False
    )
    with ExitStack() as stack:
        server.process = begin(server, how, stack)
        wait_until(lambda: is_healthy(server), what="it is up")
        with LoadClients(server, ["a"], clients=4, n=2) as load_clients:
            time.sleep(1.5)
        assert load_clients.endings == {"200": load_clients.asked}
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0


def is_healthy(server: Modelswap) -> bool:
    try:
        return server.ask("GET", "/health", seconds=5).status == 200
    except OSError:
        return False


def begin(server: Modelswap, how: str, stack: ExitStack) -> subprocess.Popen[bytes]:
    """Start the program with an output of that kind."""
    command = [sys.executable, "-m", "modelswap", "serve", "--config", str(server.config_file)]
    command += ["--listen", f"127.0.0.1:{server.port}", "--state-dir", str(server.state_dir)]
    root = Path(__file__).parents[3] / "src"
    env = {**os.environ, "PYTHONPATH": str(root), "MODELSWAP_TEST_MARKER": server.marker}
    if how == "closed":
        return subprocess.Popen(["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *command], env=env)
    if how == "full":
        full = os.open("/dev/full", os.O_WRONLY)
        stack.callback(os.close, full)
        return subprocess.Popen(command, stdout=full, stderr=full, env=env)
    reader, writer = os.pipe()
    if how == "reader gone":
        os.close(reader)
    else:
        stack.callback(os.close, reader)
    process = subprocess.Popen(command, stdout=writer, stderr=writer, env=env)
    os.close(writer)
    return process


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    """A file system of half a megabyte; only root may make one."""
    folder = tmp_path / "small"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "none", str(folder)],
        check=False,
        capture_output=True,
    )
    if made.returncode:
        pytest.skip(f"cannot mount here: {made.stderr.decode().strip()}")
    return folder


def test_full_disk(modelswap_server: StartServer, small_disk: Path) -> None:
    """State directory and store on a full disk: requests, swaps and the stop go on."""
    try:
        server = modelswap_server(
            stub_config("a", "b", extra=f"store: {{path: {small_disk}/activity.db}}"),
            "--state-dir", str(small_disk / "state"),
        )  # fmt: skip
        assert server.chat("a").status == 200
        with (small_disk / "ballast").open("wb", buffering=0) as ballast, suppress(OSError):
            while True:
                ballast.write(bytes(4096))
        with LoadClients(server, ["a", "b"], clients=4, n=2) as load_clients:
            time.sleep(1.5)
        assert load_clients.endings == {"200": load_clients.asked}
        os.kill(server.keeper_pid(), signal.SIGKILL)
        wait_until(lambda: is_served(server), what="a new keeper on a full disk")
        assert server.stop() == 0
    finally:
        server.finish()
        subprocess.run(["umount", "-l", str(small_disk)], check=True)


def test_unwritable_store(modelswap_server: StartServer) -> None:
    """A store that cannot be written: one warning, and requests are served as before."""
    server = modelswap_server(stub_config("a", extra="store: {path: /proc/activity.db}"))
    flood_of_requests(server, 5)
    assert "/proc/activity.db" in server.log()
    assert server.ask("GET", "/api/metrics/activity").status == 200


def test_unwritable_state_directory(modelswap_server: StartServer) -> None:
    """A state directory that cannot be made: one line, exit code 1."""
    server = modelswap_server(stub_config("a"), start=False)
    server.flags = ("--state-dir", "/proc/nowhere/state")
    assert server.spawn().wait(30) == 1
    assert len(server.log().splitlines()) == 1
    assert "/proc/nowhere" in server.log()


READ_ONLY = """\
set -e
exec 9< {root}
mount --make-rprivate /
mount -o remount,bind,ro /
for folder in /tmp /var/tmp /dev/shm /run; do
  case " {writable} " in
    *" $folder "*)
      mount -t tmpfs -o mode=1777 tmpfs $folder
      case {root} in $folder/*) mkdir -p {root} && mount -c --bind /proc/self/fd/9 {root} ;; esac ;;
    *) mount --bind $folder $folder && mount -o remount,bind,ro $folder ;;
  esac
done
cd /
exec env -i PATH="$PATH" HOME=/nonexistent PYTHONPATH={root}/src "$@" 9<&-
"""


def read_only_root(*arguments: str, writable: str = "") -> list[str]:
    """The command for a user without a home on a system of which only some folders can be written.

    The checkout, which may lie below one of them, stays where it is.
    """
    root = shlex.quote(str(Path(__file__).parents[3]))
    script = READ_ONLY.format(writable=writable, root=root)
    run = [sys.executable, "-m", "modelswap", *arguments]
    return ["unshare", "--mount", "sh", "-c", script, "sh", *run]


@pytest.fixture
def can_unshare() -> None:
    probe = read_only_root("--version")
    if subprocess.run(probe, check=False, capture_output=True).returncode:
        pytest.skip("cannot make mounts here")


@pytest.mark.usefixtures("can_unshare")
@pytest.mark.parametrize("command", ["serve", "demo"])
def test_a_system_that_cannot_be_written(command: str) -> None:
    """A read-only root and no `--state-dir`, no `--dir`: one line that names the option."""
    flags = ["/dev/stdin", "--listen", "127.0.0.1:0"] if command == "serve" else ["--once"]
    ended = subprocess.run(
        read_only_root(command, *flags),
        input="models: {}\n", capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    assert "--state-dir" in ended.stderr or "--dir" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1, ended.stderr


@pytest.mark.usefixtures("can_unshare")
@pytest.mark.parametrize("folder", ["/tmp", "/dev/shm"])  # noqa: S108 - mounted for the test
def test_the_first_folder_that_can_be_written(folder: str) -> None:
    """The server starts with its state there, readable by its user only, without an option."""
    port = free_block()
    flags = ["/dev/stdin", "--listen", f"127.0.0.1:{port}"]
    with subprocess.Popen(
        read_only_root("serve", *flags, writable=folder),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("models: {}\n")
        process.stdin.close()
        lines = iter(process.stdout.readline, "")
        try:
            assert any(f"127.0.0.1:{port}" in line for line in lines)
            state = Path(f"/proc/{process.pid}/root{folder}/modelswap-{os.getuid()}")
            assert state.stat().st_mode & 0o777 == 0o700
            assert list(state.glob("*/front.lock"))
        finally:
            process.terminate()
            assert process.wait(30) == 0


def test_a_folder_that_the_demo_cannot_write() -> None:
    """One line with the reason and the option."""
    pytest.importorskip("xllamacpp", reason="needs modelswap[engine]")
    ended = subprocess.run(
        [sys.executable, "-m", "modelswap", "demo", "--once", "--dir", "/proc/nowhere"],
        capture_output=True, text=True, timeout=30, check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3] / "src")},
    )  # fmt: skip
    assert ended.returncode == 1
    assert "name another folder with --dir" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1, ended.stderr


def test_state_directory_vanishes(modelswap_server: StartServer) -> None:
    """The directory is deleted under the running program: models still start, stop and end."""
    server = modelswap_server(stub_config("a", "b"))
    assert server.chat("a").status == 200
    shutil.rmtree(server.state_dir)
    assert server.chat("b").status == 200
    os.kill(server.keeper_pid(), signal.SIGKILL)
    answer = wait_until(
        lambda: (a := server.chat("a")).status in {200, 503} and a, 20, what="a response"
    )
    assert answer.status == 200 or answer.json()["error"]["code"] == "model_load_failed"
    assert server.stop() == 0


# Ports


def test_ports_that_are_taken(modelswap_server: StartServer) -> None:
    """Models whose ports other programs hold get the next free ones."""
    first = free_block()
    with ExitStack() as held:
        for port in (first, first + 1, first + 3):
            held.enter_context(socket.create_server(("127.0.0.1", port)))
        server = modelswap_server(f"startPort: {first}\n" + stub_config("a", "b", "c"))
        for model in "abc":
            assert server.chat(model).status == 200


def test_port_taken_between_check_and_bind(modelswap_server: StartServer) -> None:
    """An engine whose port was taken in between, and which neither exits nor says so, gets another port."""
    first = free_block()
    with socket.socket() as foreign:
        foreign.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server = modelswap_server(
            f"startPort: {first}\n" + stub_config("a", flags=("--ready-after", "0.5"))
        )
        statuses: list[int] = []
        asking = threading.Thread(target=lambda: statuses.append(server.chat("a").status))
        asking.start()
        wait_until(lambda: "<a> starting" in server.log(), what="the port was looked at")
        foreign.bind(("127.0.0.1", first))
        foreign.listen()
        asking.join(30)
        assert statuses == [200]
        assert "its port is taken by another program" in server.log()


def test_foreign_server_on_the_port(modelswap_server: StartServer) -> None:
    """A foreign process's 200 on a fixed port neither makes the model ready nor gets its requests."""
    first = free_block()
    other = subprocess.Popen(
        [sys.executable, "-I", "-S", *stub_command("x", port=str(first)).split()[3:]],
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: can_connect(first), what="the foreign process listens")
        command = stub_command("a", port=str(first))
        server = modelswap_server(
            f"models:\n  a:\n    cmd: {command}\n    proxy: http://127.0.0.1:{first}\n"
        )
        answer = server.chat("a")
        assert answer.status == 503
        assert answer.json()["error"]["code"] == "model_load_failed"
        assert "--port" not in answer.body.decode()
    finally:
        other.kill()
        other.wait()


def can_connect(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


# Process 1


def test_as_process_one(modelswap_server: StartServer, tmp_path: Path) -> None:
    """In a container without an init it reaps orphans, passes signals on, and ends with their code."""
    if subprocess.run(["unshare", "--pid", "--fork", "true"], check=False, capture_output=True).returncode:  # fmt: skip
        pytest.skip("this system does not let us make a pid namespace")
    server = modelswap_server(stub_config("a"), start=False)
    script = tmp_path / "run.sh"
    script.write_text('exec unshare --pid --fork --mount-proc --kill-child "$@"\n')
    command = [sys.executable, "-m", "modelswap", "serve", "--config", str(server.config_file)]
    command += ["--listen", f"127.0.0.1:{server.port}", "--state-dir", str(server.state_dir)]
    root = Path(__file__).parents[3] / "src"
    env = {**os.environ, "PYTHONPATH": str(root), "MODELSWAP_TEST_MARKER": server.marker}
    with server.log_file.open("ab") as log:
        server.process = subprocess.Popen(
            ["sh", str(script), *command], stdout=log, stderr=log, env=env
        )
    wait_until(lambda: is_healthy(server), what="it is up")
    assert server.chat("a").status == 200
    first = next(pid for pid in server.processes() if parent_of(pid) == server.pid)
    keeper = next(p for p, line in server.processes().items() if "keeper/__main__.py" in line)
    os.kill(keeper, signal.SIGKILL)  # its orphans come to process 1
    wait_until(lambda: is_served(server), what="it recovers")
    wait_until(lambda: not zombie_children(first), what="no zombie is left")
    os.kill(first, signal.SIGTERM)
    assert server.process.wait(30) == 0
    assert not server.processes()


def zombie_children(parent: int) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[:2] == ["Z", str(parent)]:
            found.append(entry.name)
    return found
