"""Small files that several write at once."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

import pytest

from modelswap.pull.sources.small_file import write_whole

if TYPE_CHECKING:
    from pathlib import Path


def test_several_write_the_same_file_at_once(tmp_path: Path) -> None:
    """As two pulls of one repository do; each writes it whole."""
    path = tmp_path / "refs" / "main"
    begin = threading.Barrier(4)
    failed: list[OSError] = []
    interval = sys.getswitchinterval()

    def write() -> None:
        begin.wait()
        try:
            for _ in range(200):
                write_whole(path, b"a" * 40)
        except OSError as problem:
            failed.append(problem)

    sys.setswitchinterval(1e-5)
    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(interval)
    assert failed == []
    assert [one.name for one in path.parent.iterdir()] == ["main"]


def test_nothing_is_left_of_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    """A folder stands in its place."""
    (tmp_path / "main" / "in").mkdir(parents=True)
    with pytest.raises(OSError, match="main"):
        write_whole(tmp_path / "main", b"x", tmp_path / "beside")
    assert list((tmp_path / "beside").iterdir()) == []
