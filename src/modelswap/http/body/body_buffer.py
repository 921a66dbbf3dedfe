"""The memory of one large body whose length is known; the socket is read into it.

No one sees the `bytes` before all of it was written. What nothing was written to is only reserved.
Gathering pieces and joining them was a fifth of the CPU time of a body of 20 MB.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from modelswap.units import Bytes

if TYPE_CHECKING:
    from collections.abc import Callable

MIN_SIZE = Bytes(512 << 10)
"""Shorter bodies come in a read or two: joining those costs no more."""
MAX_SIZE = Bytes(64 << 20)
"""Longer ones are gathered: a length is only a promise, and reserving is bounded too."""
_WRITABLE = 0x200
"""`PyBUF_WRITE`"""
_MAX_READ = Bytes(4 << 20)
"""Bytes of one read: it keeps the loop for about a millisecond."""


@cache
def _reserved() -> Callable[[int], tuple[bytes, memoryview]]:
    """Return what makes a `bytes` without filling it, and a view that can be written."""
    from ctypes import (  # noqa: PLC0415 - half a megabyte, for large bodies only
        PYFUNCTYPE,
        c_int,
        c_ssize_t,
        c_void_p,
        py_object,
        pythonapi,
    )

    # The C API's own way: a null pointer for the contents.
    made = PYFUNCTYPE(py_object, c_void_p, c_ssize_t)(("PyBytes_FromStringAndSize", pythonapi))
    address_of = PYFUNCTYPE(c_void_p, py_object)(("PyBytes_AsString", pythonapi))
    viewed = PYFUNCTYPE(py_object, c_void_p, c_ssize_t, c_int)(
        ("PyMemoryView_FromMemory", pythonapi)
    )

    def reserve(length: int) -> tuple[bytes, memoryview]:
        whole: bytes = made(None, length)
        return whole, viewed(address_of(whole), length, _WRITABLE)

    return reserve


class BodyBuffer:
    """`take` pieces, or write into `unfilled` and `add` their count, until it is full; then `whole`."""

    def __init__(self, length: int) -> None:
        """MemoryError when the system does not give so much."""
        self._bytes, self._view = _reserved()(length)
        self._length = length
        self._filled = 0

    def take(self, piece: bytes | memoryview) -> None:
        start = self._filled
        end = start + len(piece)
        self._view[start:end] = piece
        self._filled = end

    def unfilled(self) -> memoryview:
        start = self._filled
        return self._view[start : start + _MAX_READ]

    def add(self, count: int) -> None:
        self._filled += count

    def whole(self) -> bytes:
        if self._filled != self._length:
            raise ValueError(f"{self._filled} of {self._length} bytes of a body")
        self._view.release()
        return self._bytes
