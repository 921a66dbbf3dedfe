"""What real processes hold."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psutil

from modelswap.devices.capacity import process_memory
from modelswap.devices.capacity.process_memory import NOTHING, memory_of
from modelswap.procfs import children

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest

MIB = 1 << 20
SIZE = 300 * MIB
FILE = 100 * MIB
SLACK = 40 * MIB
"""The interpreter and its libraries."""
GONE = 999_999_999
PROGRAM = """
import mmap, os, sys
own = bytearray(int(sys.argv[1]))
own[::4096] = b"x" * len(own[::4096])
file = open(sys.argv[2], "rb")
mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
sum(mapped[::4096])
if sys.argv[3] == "fork" and os.fork() == 0:
    sum(own[::4096]) + sum(mapped[::4096])
    print(flush=True)
    sys.stdin.read()
elif sys.argv[3] != "fork":
    print(flush=True)
sys.stdin.read()
"""


@contextmanager
def holder(folder: Path, how: str = "alone") -> Iterator[int]:
    """Run a process that has 300 MiB of its own and 100 MiB of a file mapped."""
    path = folder / "weights"
    path.write_bytes(b"w" * FILE)
    command = [sys.executable, "-c", PROGRAM, str(SIZE), str(path), how]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.communicate()


def test_one_process(tmp_path: Path) -> None:
    """Its own memory and its pages of files are told apart."""
    with holder(tmp_path) as pid:
        found = memory_of([pid])
    assert SIZE <= found.own <= SIZE + SLACK
    assert FILE <= found.file <= FILE + SLACK


def test_shared_pages_count_once(tmp_path: Path) -> None:
    """Of a process and its fork, which hold the same pages, each counts with its share."""
    with holder(tmp_path, "fork") as pid:
        both = [pid, *children(pid)]
        assert len(both) == 2
        found = memory_of(both)
    assert SIZE * 0.95 <= found.own <= SIZE + SLACK
    assert FILE * 0.95 <= found.file <= FILE + SLACK


def test_large_processes_count_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the limit the page tables are not walked, so shared pages count twice."""
    monkeypatch.setattr(process_memory, "PSS_LIMIT", MIB)
    with holder(tmp_path, "fork") as pid:
        found = memory_of([pid, *children(pid)])
    assert found.own >= 2 * SIZE


def test_a_process_that_is_gone_holds_nothing() -> None:
    assert memory_of([GONE]) == memory_of([GONE, GONE + 1]) == memory_of([]) == NOTHING


def test_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere psutil is asked, which tells no kinds of pages."""
    monkeypatch.setattr("modelswap.procfs.HAS_PROC", False)
    found = memory_of([os.getpid()])
    resident = psutil.Process().memory_info().rss
    assert abs(found.own - resident) < SLACK
    assert (found.file, memory_of([GONE])) == (0, NOTHING)
