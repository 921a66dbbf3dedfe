"""Tells cheaply whether anything in folders may have changed: a look at directories, without their files.

A directory's time of change moves when an entry comes or goes. The files that are known are looked at
one by one, as writing into a file leaves its directory as it is.
Does not: look into hidden folders, as a scan does not.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_MOST_FOLDERS: Final = 200_000
"""Directories that are looked at: with a whole disk as a folder, the rest is found by a scan."""


def folder_stamp(folders: Iterable[Path], files: Iterable[Path]) -> int:
    """Return a number that stays the same as long as nothing has come, gone or been written."""
    seen: set[tuple[int, int]] = set()
    stamp = 0
    todo = [os.fspath(folder) for folder in folders]
    while todo and len(seen) < _MOST_FOLDERS:
        path = todo.pop()
        with suppress(OSError, ValueError):
            stat = os.stat(path)  # noqa: PTH116 - ten thousands of them: a `Path` costs more than the look
            if (stat.st_dev, stat.st_ino) in seen:  # by a link a second time, maybe in a circle
                continue
            seen.add((stat.st_dev, stat.st_ino))
            stamp ^= hash((path, stat.st_mtime_ns, stat.st_ino))
            with os.scandir(path) as entries:
                todo += [
                    entry.path
                    for entry in entries
                    if not entry.name.startswith(".") and entry.is_dir()
                ]
    for file in files:
        with suppress(OSError, ValueError):
            stat = os.stat(file)  # noqa: PTH116 - as above
            stamp ^= hash((os.fspath(file), stat.st_mtime_ns, stat.st_size, stat.st_ino))
    return stamp
