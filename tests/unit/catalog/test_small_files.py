"""Small files of other programs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modelswap.catalog.small_files import read_start


def test_the_start_of_a_file(tmp_path: Path) -> None:
    """No more is read than asked for; a link is followed."""
    (tmp_path / "file").write_bytes(b"abc")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert (read_start(tmp_path / "link", 2), read_start(tmp_path / "file", 9)) == (b"ab", b"abc")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    """Windows refuses to open it, other systems do not."""
    with pytest.raises(OSError, match=r"ermission|not a regular file"):
        read_start(tmp_path, 1)


@pytest.mark.timeout(20)
def test_other_files_are_refused(tmp_path: Path) -> None:
    """A named pipe, with a writer or without, and a device: reading them could wait for ever."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        read_start(tmp_path / "pipe", 1)
    writer = os.open(tmp_path / "pipe", os.O_RDWR | os.O_NONBLOCK)
    try:
        with pytest.raises(OSError, match="not a regular file"):
            read_start(tmp_path / "pipe", 1)
    finally:
        os.close(writer)
    with pytest.raises(OSError, match="not a regular file"):
        read_start(Path("/dev/zero"), 1)
