"""Standard output, written by a thread."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from modelswap.observe.logs.stdout import Stdout

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_a_full_disk_is_not_the_end(tmp_path: Path) -> None:
    """What could not be written is counted and said; the lines after it are written."""
    out = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    full = os.open("/dev/full", os.O_WRONLY)
    place = os.dup(full)
    stdout = Stdout(place)
    stdout.write(b"lost\n")
    wait_for(lambda: stdout.dropped == 5)
    os.dup2(out, place)
    stdout.write(b"kept\n")
    stdout.close()
    assert (tmp_path / "log").read_text() == "kept\n\n— 5 bytes dropped —\n"
    for one in (out, full, place):
        os.close(one)


def wait_for(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.005)
