"""Remembers what headers say, by path, size, time of change and inode, in a file between two runs.

Guarantees: a file that has changed is read again; a cache file that cannot be read, is of another
version, or is not what it should be counts as empty.
Does not: serve two threads at once.
Memory: at most `MOST_ENTRIES` summaries, about a kilobyte each.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from modelswap.units import Bytes

from .models.summary import BrokenFile, GgufSummary, SafetensorsSummary

if TYPE_CHECKING:
    from .files import FoundFile

MOST_ENTRIES: Final = 1 << 16
"""Files: more are on few machines; those beyond are read at each scan."""
MOST_BYTES: Final = Bytes(64 << 20)
"""A larger cache file was not written here: an entry has 200 to 400 bytes."""
_INODE: Final = (1 << 64) - 1
"""Bits of an inode that are kept; ReFS of Windows has 128."""
_VERSION: Final = 1
"""Counts up when a summary's meaning changes, so that old ones are read again."""


Summary = GgufSummary | SafetensorsSummary | BrokenFile


class _Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    path: bytes
    size: int
    mtime_ns: int
    inode: int
    summary: Summary


class _Content(msgspec.Struct, frozen=True):
    version: int
    entries: list[_Entry]


_DECODER: Final = msgspec.msgpack.Decoder(_Content)


class HeaderCache:
    """In memory alone where no path is given."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._entries = {entry.path: entry for entry in _load(path)} if path else {}
        self._used: set[bytes] = set()
        self._is_changed = False

    def get(self, file: FoundFile) -> Summary | None:
        key = os.fsencode(file.path)
        entry = self._entries.get(key)
        if entry is None or (entry.size, entry.mtime_ns, entry.inode) != (
            file.size, file.mtime_ns, file.inode & _INODE,
        ):  # fmt: skip
            return None
        self._used.add(key)
        return entry.summary

    def put(self, file: FoundFile, summary: Summary) -> None:
        key = os.fsencode(file.path)
        self._entries[key] = _Entry(key, file.size, file.mtime_ns, file.inode & _INODE, summary)
        self._used.add(key)
        self._is_changed = True

    def save(self) -> None:
        """Write the cache where it has changed; what was used since the last time comes first.

        Raise `OSError` where it cannot be written.
        """
        used, self._used = self._used, set()
        if not self._is_changed:
            return
        kept = sorted(self._entries.values(), key=lambda entry: entry.path not in used)
        del kept[MOST_ENTRIES:]
        self._entries = {entry.path: entry for entry in kept}
        self._is_changed = False
        if self._path is not None:
            _write(self._path, msgspec.msgpack.encode(_Content(_VERSION, kept)))


def _load(path: Path) -> list[_Entry]:
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            return []
        content = _DECODER.decode(data)
    except (OSError, ValueError, RecursionError):
        return []
    return content.entries[:MOST_ENTRIES] if content.version == _VERSION else []


def _write(path: Path, data: bytes) -> None:
    """Replace the file in one step, so that a reader never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fd, name = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
