"""Opens files that other programs wrote, and reads small ones.

Guarantees: nothing waits, whatever lies at the path; `read_start` reads regular files only.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def open_at_once(path: Path) -> int:
    """Open a file for reading; opening a named pipe would wait for its writer otherwise."""
    return os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))


def read_start(path: Path, most: int) -> bytes:
    """Return at most `most` bytes of a file; raise `OSError` where it cannot be read."""
    fd = open_at_once(path)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        with os.fdopen(fd, "rb", closefd=False) as file:
            return file.read(most)
    finally:
        os.close(fd)
