"""What the kernel says of processes, asked about this one and its children."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

from modelswap import procfs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GONE = 999_999_999


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        ["sh", "-c", "sleep 1000 & echo; wait"],
        env={"MARK": "a=b", **os.environ},
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        os.killpg(process.pid, 9)


def test_a_process(child: subprocess.Popen[bytes]) -> None:
    """Name, parent, start and environment are as the process has them."""
    assert procfs.name_of(child.pid) == "sh"
    assert procfs.parent(child.pid) == os.getpid()
    assert procfs.start_time(child.pid) >= procfs.start_time(os.getpid()) > 0
    assert procfs.variable_of(child.pid, "MARK") == "a=b"
    assert procfs.variable_of(child.pid, "MAR") == ""
    assert procfs.is_ours(child.pid)


def test_descendants(child: subprocess.Popen[bytes]) -> None:
    """A subtree has parents before children, whatever their session."""
    (sleeper,) = procfs.children(child.pid)
    assert procfs.subtree([child.pid]) == [child.pid, sleeper]
    assert {child.pid, sleeper} <= set(procfs.all_pids())


def test_children_by_scan(child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that lists no children is asked for the parent of each process."""
    expected = procfs.children(child.pid)
    read = procfs.read_bytes
    monkeypatch.setattr(procfs, "_KERNEL_LISTS_CHILDREN", False)
    monkeypatch.setattr(
        procfs, "read_bytes", lambda path: b"" if path.endswith("/children") else read(path)
    )
    assert procfs.children(child.pid) == expected


def test_a_process_that_is_gone() -> None:
    """Nothing is known of it, and that is no error."""
    assert procfs.read_bytes(f"/proc/{GONE}/stat") == b""
    assert (procfs.start_time(GONE), procfs.parent(GONE), procfs.children(GONE)) == (0, 0, [])
    assert (procfs.name_of(GONE), procfs.variable_of(GONE, "MARK")) == ("?", "")
    assert not procfs.is_ours(GONE)
    assert procfs.pid_namespace(GONE) == ""


def test_a_name_that_looks_like_fields() -> None:
    """The fields are counted from behind the name, which may hold anything."""
    code = "import ctypes, time; ctypes.CDLL(None).prctl(15, b') 1 2 (x'); print(flush=True); time.sleep(99)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert procfs.name_of(process.pid) == ") 1 2 (x"
        assert procfs.parent(process.pid) == psutil.Process(process.pid).ppid() == os.getpid()
        process.kill()


def test_sizes(tmp_path: Path) -> None:
    """Lines without the kernel's unit are no sizes; a file that is not there has none."""
    (tmp_path / "meminfo").write_text("MemTotal:  16 kB\nHugePages_Total:  3\nfound nothing\n")
    assert procfs.sizes(f"{tmp_path}/meminfo") == {b"MemTotal:": 16384}
    assert procfs.sizes(f"{tmp_path}/status") == {}


def test_peer_of_a_socket() -> None:
    """A Unix socket names the process at its other end, where the system does."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert procfs.peer_of(ours) == (os.getpid(), os.getuid())


def test_peer_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system has no such option, the peer is not known."""
    monkeypatch.delattr("modelswap.procfs.socket.SO_PEERCRED")
    with socket.socket(socket.AF_UNIX) as one:
        assert procfs.peer_of(one) is None
