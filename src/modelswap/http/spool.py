"""Bytes kept until they can go: in memory up to a bound, then in a file without a name.

Law: memory holds `MEMORY` bytes at most; a file is unlinked before the first
byte goes into it, so that no crash leaves one. It refuses to be read before
writing has ended being its caller's turn: first writes, then reads, once.
"""

from __future__ import annotations

import tempfile
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MEMORY = 1 << 20
CHUNK = 256 << 10


class Spool:
    __slots__ = ("_file", "_parts", "size")

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._file: IO[bytes] | None = None
        self.size = 0

    @property
    def in_memory(self) -> bool:
        return self._file is None

    def write(self, data: bytes) -> None:
        """Keep `data`; OSError when the disk is full."""
        self.size += len(data)
        if self._file is None:
            self._parts.append(data)
            if self.size > MEMORY:
                self._spill()
        else:
            self._file.write(data)

    def _spill(self) -> None:
        file = tempfile.TemporaryFile(buffering=0, prefix="modelswap-")  # noqa: SIM115 - `close` does
        self._file = file
        parts, self._parts = self._parts, []
        for part in parts:
            file.write(part)

    def held(self) -> bytes:
        """Return what is in memory, and keep it."""
        return b"".join(self._parts)

    def chunks(self) -> Iterator[bytes]:
        """Read all that was written, piece by piece; what is written meanwhile comes last."""
        if self._file is None:
            while self._parts:
                yield self._parts.pop(0)
            return
        at = 0
        while at < self.size:
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
