"""Bytes kept until they can go: in memory up to `MEMORY`, then in a file without a name.

Guarantees: the file is unlinked before the first byte goes into it, so that no crash leaves one.
Does not: read twice: its caller writes, then reads once.
"""

from __future__ import annotations

import os
from typing import IO, TYPE_CHECKING

from modelswap.units import Bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

MEMORY = Bytes(1 << 20)
"""Bytes in memory before a file is made: most forms without a file are smaller."""
CHUNK = Bytes(256 << 10)
"""Bytes read from the file at a time: below a millisecond of work."""


class SpoolError(Exception):
    """Nothing can be stored; the text names folders and reasons, for the log."""


class SpoolFolders:
    """Where the files go: the first folder that takes one, at last the system's for such files."""

    def __init__(self, *folders: Path) -> None:
        """Each is made, for its owner alone, when it is needed first."""
        self._folders = folders

    def store(self, parts: Iterable[bytes]) -> tuple[IO[bytes], str]:
        """Return a file with the parts in it, and its folder's name."""
        reasons: list[str] = []
        held = tuple(parts)
        for folder in (*self._folders, None):
            name = "the system's temporary folder" if folder is None else str(folder)
            try:
                if folder is None:
                    from tempfile import gettempdir  # noqa: PLC0415 - with what it imports, a millisecond of the start

                    name = gettempdir()
                else:
                    folder.mkdir(mode=0o700, exist_ok=True)
                return _stored(name, held), name
            except OSError as error:
                reasons.append(f"{name}: {reason_of(error)}")
        raise SpoolError("; ".join(reasons))


def _stored(folder: str, parts: Iterable[bytes]) -> IO[bytes]:
    from tempfile import TemporaryFile  # noqa: PLC0415 - with what it imports, a millisecond of the start

    file = TemporaryFile(buffering=0, prefix="modelswap-", dir=folder)  # noqa: SIM115 - `Spool.close` does
    try:
        for part in parts:
            write_all(file, part)
    except OSError:
        file.close()
        raise
    return file


def write_all(file: IO[bytes], data: bytes) -> None:
    """Write it whole: a disk that is nearly full takes a part and says nothing."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def reason_of(error: OSError) -> str:
    """Without a path."""
    return os.strerror(error.errno) if error.errno else type(error).__name__


class Spool:
    def __init__(self, folders: SpoolFolders | None = None) -> None:
        self._folders = folders or SpoolFolders()
        self._parts: list[bytes] = []
        self._file: IO[bytes] | None = None
        self._folder = ""
        self.size = 0

    @property
    def in_memory(self) -> bool:
        return self._file is None

    def write(self, data: bytes) -> None:
        """Keep `data`; raise SpoolError when it cannot be stored."""
        self.size += len(data)
        if self._file is None:
            self._parts.append(data)
            if self.size > MEMORY:
                self._file, self._folder = self._folders.store(self._parts)
                self._parts.clear()
            return
        try:
            write_all(self._file, data)
        except OSError as error:
            raise SpoolError(f"{self._folder}: {reason_of(error)}") from error

    def held(self) -> bytes:
        """What is in memory; it is kept."""
        return b"".join(self._parts)

    def chunks(self) -> Iterator[bytes]:
        """Read all that was written, piece by piece; what is written meanwhile comes last."""
        given = 0
        while self._file is None:
            if not self._parts:
                return
            data = self._parts.pop(0)
            given += len(data)
            yield data
        at = 0  # the file was begun behind what was given from memory
        while at < self.size - given:
            self._file.seek(at)
            data = self._file.read(CHUNK)
            if not data:
                return
            at += len(data)
            self._file.seek(0, 2)
            yield data

    def close(self) -> None:
        self._parts.clear()
        if self._file is not None:
            self._file.close()
            self._file = None
