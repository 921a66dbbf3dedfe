"""What came of a file so far, on disk, with its running checksum."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, Self

from modelswap.units import Bytes

if TYPE_CHECKING:
    from collections.abc import Callable

_PIECE: Final = Bytes(4 << 20)
"""Of a file that is read back: few calls, and little memory."""
_VALIDATOR: Final = re.compile(r'"[\x21\x23-\x7e]{1,200}"|[A-Z][a-z]{2}, [0-9A-Za-z: ]{10,40}GMT')
"""A strong entity tag, or a date: what `If-Range` may hold."""


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Checksum:
    """`algorithm` of `prefix` and the file; `sha1` with Git's prefix is the id of a blob."""

    algorithm: str
    value: str
    prefix: bytes = b""


def size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def has_size(path: Path, size: int) -> bool:
    """Tell whether a file is there and has this size."""
    try:
        return path.stat().st_size == size
    except OSError:
        return False


class PartialFile:
    """What came of a file, and the hash of it."""

    def __init__(
        self,
        path: Path,
        size: Bytes | None,
        checksum: Checksum | None,
        note: Callable[[int, int], None],
    ) -> None:
        """`note` is told the bytes that are there, and how many of them have just come."""
        self._path = path
        self._checksum = checksum
        self._note = note
        self._file = Path.open(path, "a+b")
        self._validator = path.with_name(path.name + ".validator")
        self.total = size
        self.done = 0
        self._ended = False
        """The server sent the end of a file whose size it did not say."""
        self._hash = self._new_hash()

    def __enter__(self) -> Self:
        try:
            self._read_back()
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        if size_of(self._path) == 0:
            self._path.unlink(missing_ok=True)

    def _new_hash(self) -> _Hash | None:
        checksum = self._checksum
        if checksum is None:
            return None
        return hashlib.new(checksum.algorithm, checksum.prefix, usedforsecurity=False)

    def _read_back(self) -> None:
        """Take up what an earlier run left, where it can be trusted."""
        there = size_of(self._path)
        if self.total is not None and there > self.total:
            there = 0
        if self._hash is None and not self.validator:
            there = 0
        if there == 0:
            self._file.truncate(0)
        self._file.seek(0)
        while self._hash is not None and (piece := self._file.read(_PIECE)):
            self._note(0, 0)
            self._hash.update(piece)
        self._file.seek(0, os.SEEK_END)
        self.done = there
        self._note(there, 0)

    @property
    def validator(self) -> str:
        """What tells that the server's file is still the one of which a part is here; empty: unknown."""
        if self._hash is not None:
            return ""
        try:
            text = self._validator.read_text("ascii", "replace")
        except OSError:
            return ""
        return text if _VALIDATOR.fullmatch(text) else ""

    def is_of_another(self, etag: str, date: str) -> bool:
        """Tell whether what came is of another version of the file than the one with these validators.

        A server that does not know `If-Range` sends a part of whatever it has.
        """
        known = self.validator
        return bool(known) and (etag if known.startswith('"') else date) not in {"", known}

    def remember(self, etag: str, date: str) -> None:
        """Keep the validator of what comes; without a checksum nothing else tells two versions apart."""
        if self._hash is None:
            found = next(filter(_VALIDATOR.fullmatch, (etag, date)), "")
            self._validator.write_text(found, "ascii")

    def distrust(self) -> None:
        """Drop what came if it may be of another version of the file."""
        if self.done and self._hash is None and not self.validator:
            self.restart()

    @property
    def is_whole(self) -> bool:
        return self.done == self.total if self.total is not None else self._ended

    @property
    def is_right(self) -> bool:
        checksum = self._checksum
        return checksum is None or self._hash is None or self._hash.hexdigest() == checksum.value

    def write(self, piece: bytes) -> None:
        self._file.write(piece)
        self._file.flush()  # what is told below survives the end of this program
        if self._hash is not None:
            self._hash.update(piece)
        self.done += len(piece)
        self._note(self.done, len(piece))

    def end(self) -> None:
        self._ended = True

    def restart(self) -> None:
        """Drop what came."""
        self._file.seek(0)
        self._file.truncate()
        self.done, self._ended = 0, False
        self._hash = self._new_hash()
        self._note(0, 0)

    def keep(self, target: Path) -> None:
        """Make it the target; a power failure afterwards leaves it whole."""
        os.fsync(self._file.fileno())
        target.parent.mkdir(parents=True, exist_ok=True)
        self._path.replace(target)
        self._validator.unlink(missing_ok=True)
