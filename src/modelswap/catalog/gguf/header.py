"""Reads the whole header of one GGUF file, of version 1, 2 or 3, in either byte order."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from modelswap.catalog.small_files import open_at_once

from .metadata import Metadata, read_metadata
from .tensors import TensorInfo, read_tensors
from .window import GgufError, Window

if TYPE_CHECKING:
    from pathlib import Path

    from .array_lengths import ArrayLengths
    from .metadata import Value
    from .window import Order

MAGIC: Final = b"GGUF"
NEWEST: Final = 3
"""The newest version of GGUF that is known."""
_SHORT: Final = 1
"""The version whose lengths have 32 bits."""
_ALIGNMENT: Final = 32
"""Bytes, where `general.alignment` is absent."""
_MOST_ALIGNMENT: Final = 1 << 20
"""Bytes; a page would do."""
_OTHER_FORMATS: Final = (
    (b"lmgg", "is a GGML file of the years before GGUF, which llama.cpp no longer reads"),
    (b"fmgg", "is a GGML file of the years before GGUF, which llama.cpp no longer reads"),
    (b"tjgg", "is a GGJT file of the years before GGUF, which llama.cpp no longer reads"),
    (b"algg", "is a GGLA file of the years before GGUF, which llama.cpp no longer reads"),
    (b"vers", "is a pointer of Git LFS: `git lfs pull` fetches the file itself"),
    (b"<!DO", "is a web page, not a GGUF file: its download was answered by a page"),
    (b"<htm", "is a web page, not a GGUF file: its download was answered by a page"),
    (b"PK\x03\x04", "is a ZIP archive, not a GGUF file"),
    (
        b"\0\0\0\0",
        "starts with zeros instead of the letters GGUF: it was reserved and never written",
    ),
)
"""First bytes -> what the file is."""


@dataclass(frozen=True, slots=True)
class GgufHeader:
    version: int
    is_big_endian: bool
    metadata: dict[str, Value]
    """Everything but the tokenizer, and long strings and arrays."""
    lengths: dict[str, int]
    """Elements of each array, of those that `metadata` does not hold too."""
    tensors: tuple[TensorInfo, ...]
    data_offset: int
    """Where in the file the data of the tensors begin."""

    @property
    def architecture(self) -> str:
        return self.text("general.architecture")

    @property
    def parameters(self) -> int:
        return sum(tensor.elements for tensor in self.tensors)

    @property
    def data_end(self) -> int:
        """Where in the file the last tensor ends, as far as the types are known; 0 without data."""
        return max(
            (self.data_offset + each.offset + each.size for each in self.tensors if each.size),
            default=0,
        )

    def text(self, key: str) -> str:
        value = self.metadata.get(key)
        return value if isinstance(value, str) else ""

    def number(self, key: str) -> int | None:
        """Return a count; `None` where the file has none, or something else."""
        value = self.metadata.get(key)
        return value if type(value) is int and value >= 0 else None

    def of_model(self, key: str) -> int | None:
        """Return a count that is kept under the architecture's name, such as `context_length`."""
        return self.number(f"{self.architecture}.{key}")


def read_header(path: Path, arrays: ArrayLengths | None = None) -> GgufHeader:
    """Raise `GgufError` for what is not a whole GGUF header, `OSError` for what cannot be read."""
    fd = open_at_once(path)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise GgufError("is not a regular file")
        if arrays is None:
            return _read(Window(fd, found.st_size), None)
        arrays.guessed = False
        try:
            return _read(Window(fd, found.st_size), arrays)
        except GgufError:
            if not arrays.guessed:
                raise
            return _read(Window(fd, found.st_size), None)
    finally:
        os.close(fd)


def _read(window: Window, arrays: ArrayLengths | None) -> GgufHeader:
    version, order = _read_start(window)
    short = version == _SHORT
    window.set_layout(order, short_lengths=short)
    tensor_count = window.length("the count of tensors")
    key_count = window.length("the count of keys")
    metadata = read_metadata(window, key_count, arrays)
    tensors = read_tensors(window, tensor_count, is_short=short)
    return GgufHeader(
        version=version,
        is_big_endian=order == ">",
        metadata=metadata.values,
        lengths=metadata.lengths,
        tensors=tensors,
        data_offset=_aligned(window.offset, _alignment(metadata)),
    )


def _read_start(window: Window) -> tuple[int, Order]:
    if not window.size:
        raise GgufError("is empty (0 bytes)")
    start = window.peek(0, len(MAGIC))
    if start != MAGIC:
        known = (text for first, text in _OTHER_FORMATS if start == first)
        raise GgufError(next(known, f"starts with {start!r} instead of {MAGIC!r}"))
    window.skip(len(MAGIC), "the letters GGUF")
    raw = window.take(4, "the version")
    order: Order = "<" if int.from_bytes(raw, "little") & 0xFFFF else ">"
    version = int.from_bytes(raw, "little" if order == "<" else "big")
    if not 1 <= version <= NEWEST:
        raise GgufError(f"has version {version} of GGUF; versions 1 to {NEWEST} are read")
    return version, order


def _alignment(metadata: Metadata) -> int:
    value = metadata.values.get("general.alignment", _ALIGNMENT)
    if type(value) is not int or not 0 < value <= _MOST_ALIGNMENT or value & (value - 1):
        raise GgufError(f"has the alignment {value!r}; a power of two is expected")
    return value


def _aligned(offset: int, alignment: int) -> int:
    return (offset + alignment - 1) // alignment * alignment
