"""A bounded window on a file: numbers and strings are taken out of it in order.

Guarantees: no byte beyond the size that the file had when it was opened is asked for; skipped bytes
are not read; at most `MOST_READ` bytes are read in all.
Memory: one block, or one wanted string.
"""

from __future__ import annotations

import os
import struct
import sys
from typing import Final, Literal

from modelswap.units import Bytes

BLOCK: Final = Bytes(64 << 10)
"""One read: most headers without their vocabulary fit in."""
STRINGS_BLOCK: Final = Bytes(1 << 20)
"""One read of an array of strings: a vocabulary has some megabytes."""
MOST_READ: Final = Bytes(256 << 20)
"""The largest known headers have 20 MB."""
MOST_STRINGS: Final = 1 << 22
"""Strings that are skipped in one file: half a second. The largest known vocabularies have a million."""
Order = Literal["<", ">"]
"""Byte order, as in `struct`."""


if sys.platform == "win32":

    def _read_at(fd: int, count: int, offset: int) -> bytes:
        os.lseek(fd, offset, os.SEEK_SET)
        return os.read(fd, count)
else:
    _read_at = os.pread


class GgufError(ValueError):
    """What is wrong with a file: a clause that goes on after its name."""


class Window:
    """`length` reads the lengths of strings and arrays: 64 bits, in version 1 of GGUF 32."""

    __slots__ = (
        "_data", "_fd", "_length", "_position", "_read", "_start", "_strings",
        "_u32", "order", "size",
    )  # fmt: skip

    def __init__(self, fd: int, size: int) -> None:
        self._fd = fd
        self.size = size
        self._start = 0
        """Offset in the file of the first byte of `_data`."""
        self._data = b""
        self._position = 0
        """Index in `_data` of the next byte."""
        self._read = 0
        self._strings = 0
        self.order: Order = "<"
        self._u32 = struct.Struct("<I")
        self._length = struct.Struct("<Q")

    def set_layout(self, order: Order, *, short_lengths: bool) -> None:
        self.order = order
        self._u32 = struct.Struct(order + "I")
        self._length = self._u32 if short_lengths else struct.Struct(order + "Q")

    @property
    def offset(self) -> int:
        """Of the next byte in the file."""
        return self._start + self._position

    @property
    def left(self) -> int:
        return self.size - self.offset

    def seek(self, offset: int) -> None:
        """Go to a place that `peek` has shown to exist."""
        self._move(offset, "a place in the file")

    def u32(self, what: str) -> int:
        return self.unpack(self._u32, what)[0]

    def length(self, what: str) -> int:
        """Take the length of a string or an array, or a count."""
        return self.unpack(self._length, what)[0]

    def unpack(self, layout: struct.Struct, what: str) -> tuple[int, ...]:
        position = self._take(layout.size, what)
        return layout.unpack_from(self._data, position)

    def take(self, count: int, what: str) -> bytes:
        position = self._take(count, what)
        return self._data[position : position + count]

    def ahead(self, count: int) -> tuple[bytes, int]:
        """Return a buffer and a place in it, from where the next `count` bytes are, or all that are left."""
        if self._position + count > len(self._data):
            self._fill(min(count, self.left), "the header", BLOCK)
        return self._data, self._position

    def advance(self, position: int) -> None:
        """Go on at a place of the buffer that `ahead` returned last."""
        self._position = position

    def text(self, most: int, what: str) -> str:
        """Take a string of at most `most` bytes; one that is longer is an error."""
        count = self.length(what)
        if count > most:
            raise GgufError(f"gives {what} {count} bytes; at most {most} are accepted")
        return self.take(count, what).decode("utf-8", "replace")

    def skip(self, count: int, what: str) -> None:
        self._move(self.offset + count, what)

    def peek(self, offset: int, count: int) -> bytes:
        """Return bytes of another place; fewer where the file ends."""
        if offset < 0 or offset >= self.size:
            return b""
        here = offset - self._start
        if here >= 0 and here + count <= len(self._data):
            return self._data[here : here + count]
        return _read_at(self._fd, min(count, self.size - offset), offset)

    def skip_strings(self, count: int, what: str) -> None:
        """Skip strings one by one; none of them is kept."""
        self._strings += count
        if self._strings > MOST_STRINGS:
            raise GgufError(
                f"has {self._strings} strings in arrays; at most {MOST_STRINGS} are read"
            )
        width = self._length.size
        if count * width > self.left:
            raise GgufError(f"gives {what} {count} strings; {self.left} bytes are left in the file")
        unpack = self._length.unpack_from
        while count:
            self._fill(width, what, STRINGS_BLOCK)
            data, position, skipped = self._data, self._position, 0
            try:
                for skipped in range(count):  # noqa: B007 - how far it came
                    position += width + unpack(data, position)[0]
                skipped = count
            except (struct.error, OverflowError):  # the next length lies beyond this block
                pass
            count -= skipped
            self._move(self._start + position, what)

    def _move(self, offset: int, what: str) -> None:
        if offset > self.size:
            raise self._cut_off(offset, what)
        position = offset - self._start
        if 0 <= position <= len(self._data):
            self._position = position
        else:
            self._start, self._data, self._position = offset, b"", 0

    def _take(self, count: int, what: str) -> int:
        """Return the index in `_data` of the next `count` bytes, and go beyond them."""
        position = self._position
        if position + count > len(self._data):
            self._fill(count, what, BLOCK)
            position = self._position
        self._position = position + count
        return position

    def _fill(self, count: int, what: str, block: int) -> None:
        """See to it that the next `count` bytes are in `_data`."""
        if self._position + count <= len(self._data):
            return
        offset = self.offset
        if offset + count > self.size:
            raise self._cut_off(offset + count, what)
        wanted = min(max(count, block), self.size - offset)
        self._read += wanted
        if self._read > MOST_READ:
            raise GgufError(f"has a header of more than {MOST_READ >> 20} MiB")
        data = _read_at(self._fd, wanted, offset)
        if len(data) < count:
            raise self._cut_off(offset + count, what, offset + len(data))
        self._start, self._data, self._position = offset, data, 0

    def _cut_off(self, needed: int, what: str, size: int | None = None) -> GgufError:
        found = self.size if size is None else size
        return GgufError(f"is cut off: {what} ends at byte {needed}, the file has {found} bytes")
