"""Has glibc's allocator, if there is one, keep large buffers, and give them back when asked.

By default glibc maps and unmaps every buffer beyond 128 KiB, and each map costs page faults over the
whole buffer: two thirds of the CPU time of large bodies.
"""

from __future__ import annotations

from typing import Final

from modelswap.c_library import c_function
from modelswap.units import Bytes

_M_TRIM_THRESHOLD = -1  # numbers of options, from glibc's malloc.h
_M_MMAP_THRESHOLD = -3  # as above
_MMAP_THRESHOLD = Bytes(32 << 20)
"""The largest value that glibc accepts on 64-bit systems."""
_TRIM_THRESHOLD = Bytes(192 << 20)
"""Bytes of free memory kept at the top of the heap, so that one large body after the other finds it;
`malloc_trim` ends that."""
_MALLOPT: Final = c_function("mallopt")
_MALLOC_TRIM: Final = c_function("malloc_trim")


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
