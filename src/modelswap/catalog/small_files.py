"""Reads a small file that other programs wrote.

Guarantees: it never waits, whatever lies at the path, and reads regular files only.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def read_start(path: Path, most: int) -> bytes:
    """Return at most `most` bytes of a file; raise `OSError` where it cannot be read."""
    # Opening a named pipe would wait for its writer.
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        with os.fdopen(fd, "rb", closefd=False) as file:
            return file.read(most)
    finally:
        os.close(fd)
