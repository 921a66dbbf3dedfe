"""Has glibc's allocator, if there is one, keep large buffers, and give them back when asked.

By default glibc maps and unmaps every buffer beyond 128 KiB, and each map costs page faults over the
whole buffer: two thirds of the CPU time of large bodies.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from modelswap.units import Bytes

if TYPE_CHECKING:
    from collections.abc import Callable

_M_TRIM_THRESHOLD = -1  # numbers of options, from glibc's malloc.h
_M_MMAP_THRESHOLD = -3  # as above
_MMAP_THRESHOLD = Bytes(32 << 20)
"""The largest value that glibc accepts on 64-bit systems."""
_TRIM_THRESHOLD = Bytes(192 << 20)
"""Bytes of free memory kept at the top of the heap, so that one large body after the other finds it;
`malloc_trim` ends that."""


def _function(name: str) -> Callable[..., int] | None:
    """Return a function of the C library that takes numbers; `ctypes` would cost half a megabyte."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        import _ctypes  # noqa: PLC0415 - may be missing in small builds

        address = _ctypes.dlsym(_ctypes.dlopen(None, 0), name)  # type: ignore[arg-type]  # this program
    except (ImportError, OSError):
        return None
    return lambda *numbers: int(_ctypes.call_function(address, numbers))


_MALLOPT: Final = _function("mallopt")
_MALLOC_TRIM: Final = _function("malloc_trim")


def tune_allocator() -> bool:
    """False where there is no glibc."""
    if _MALLOPT is None:
        return False
    mapped = _MALLOPT(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD)
    trimmed = _MALLOPT(_M_TRIM_THRESHOLD, _TRIM_THRESHOLD)
    return bool(mapped and trimmed)


def malloc_trim() -> None:
    """It costs milliseconds after large bodies, little else."""
    if _MALLOC_TRIM is not None:
        _MALLOC_TRIM(0)
