"""Reading models into the page cache: how much, at which priority, and that it happens."""

from __future__ import annotations

import ctypes
import os
import threading
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from modelswap.pull.page_cache import PageCacheWarmer, lower_priority, shares, spare_memory
from modelswap.units import Bytes
from support.page_cache import drive_out, resident

if TYPE_CHECKING:
    from pathlib import Path

GIB = 1 << 30
PLENTY = Bytes(64 * GIB)


def on_disk_only(path: Path, size: int) -> Path:
    """Write a file, and drive it out of the page cache."""
    path.write_bytes(b"w" * size)
    drive_out(path)
    return path


@given(st.lists(st.integers(0, 100)), st.integers(-50, 1000))
def test_shares_are_what_fits(sizes: list[int], spare: int) -> None:
    """Files are read in order, each from its start, and never more than there is to spare."""
    found = shares(sizes, spare)
    assert sum(found) == max(0, min(sum(sizes), spare))
    assert all(share <= size for share, size in zip(found, sizes, strict=True))
    short = [share < size for share, size in zip(found, sizes, strict=True)]
    assert not any(share for share, late in zip(found, [False, *short], strict=False) if late)


def test_a_gibibyte_stays_free(tmp_path: Path) -> None:
    """Programs may ask for it meanwhile; a memory of which nothing is known is not filled."""
    assert spare_memory(tmp_path) is None
    (tmp_path / "meminfo").write_text(
        "MemTotal: 16777216 kB\nMemAvailable: 8388608 kB\nMapped: 2097152 kB\n"
    )
    assert spare_memory(tmp_path) == 5 * GIB


def test_files_come_into_the_page_cache(tmp_path: Path) -> None:
    files = [on_disk_only(tmp_path / name, 8 << 20) for name in ("a", "b")]
    warmer = PageCacheWarmer(lambda: PLENTY)
    warmer.warm([files[0], tmp_path / "missing", files[1]])
    warmer.join()
    assert [resident(path) for path in files] == [8 << 20, 8 << 20]


def test_no_more_is_read_than_there_is_to_spare(tmp_path: Path) -> None:
    """The kernel reads a little ahead; the second file is not touched at all."""
    files = [on_disk_only(tmp_path / name, 16 << 20) for name in ("a", "b")]
    before = resident(files[1])
    warmer = PageCacheWarmer(lambda: Bytes(4 << 20))
    warmer.warm(files)
    warmer.join()
    assert 4 << 20 <= resident(files[0]) < 16 << 20
    assert resident(files[1]) == before


def test_reading_stops_when_memory_gets_short(tmp_path: Path) -> None:
    path = on_disk_only(tmp_path / "a", 8 << 20)
    before = resident(path)
    looks = iter([PLENTY, Bytes(0)])
    warmer = PageCacheWarmer(lambda: next(looks))
    warmer.warm([path])
    warmer.join()
    assert resident(path) == before


def test_the_thread_has_the_lowest_priority_and_no_other_one_does() -> None:
    """Disk and processor: the kernel confirms both, for this thread alone."""
    get = {"x86_64": 252, "aarch64": 31}[os.uname().machine]
    found: list[int] = []

    def work() -> None:
        lower_priority()
        me = threading.get_native_id()
        found.extend(
            [ctypes.CDLL(None).syscall(get, 1, 0) >> 13, os.getpriority(os.PRIO_PROCESS, me)]
        )

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [3, 19]
    assert ctypes.CDLL(None).syscall(get, 1, 0) >> 13 != 3
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) != 19
