"""Reads the headers of found files, each only when the cache does not know it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelswap.bounded_cache import BoundedCache

from .gguf.array_lengths import ArrayLengths
from .gguf.header import read_header
from .gguf.window import GgufError
from .models.safetensors_header import SafetensorsError, read_safetensors
from .models.summary import BrokenFile, GgufSummary, SafetensorsSummary, summarize

if TYPE_CHECKING:
    from .files import FoundFile, Identity
    from .header_cache import HeaderCache

_MOST_FILES: Final = 1 << 16
"""Files whose summaries are kept for other paths to them, while one scan runs."""


class HeaderReader:
    """For one scan."""

    def __init__(self, cache: HeaderCache) -> None:
        self._cache = cache
        self._arrays = ArrayLengths()
        self._gguf: BoundedCache[tuple[Identity, int, int], GgufSummary | BrokenFile]
        self._gguf = BoundedCache(_MOST_FILES)

    def gguf(self, file: FoundFile) -> GgufSummary | BrokenFile:
        known = self._cache.get(file)
        if isinstance(known, GgufSummary | BrokenFile):
            return known
        key = (file.identity, file.size, file.mtime_ns)
        found = self._gguf.get(key)
        if found is None:
            try:
                found = self._gguf[key] = _read_gguf(file, self._arrays)
            except OSError as problem:  # may be otherwise the next time, with the file unchanged
                return BrokenFile(f"cannot be read: {problem.strerror}")
        self._cache.put(file, found)
        return found

    def safetensors(self, file: FoundFile) -> SafetensorsSummary | BrokenFile:
        known = self._cache.get(file)
        if isinstance(known, SafetensorsSummary | BrokenFile):
            return known
        try:
            found = _read_safetensors(file)
        except OSError as problem:
            return BrokenFile(f"cannot be read: {problem.strerror}")
        self._cache.put(file, found)
        return found


def _read_gguf(file: FoundFile, arrays: ArrayLengths) -> GgufSummary | BrokenFile:
    try:
        return summarize(read_header(Path(file.path), arrays))
    except GgufError as problem:
        return BrokenFile(str(problem))


def _read_safetensors(file: FoundFile) -> SafetensorsSummary | BrokenFile:
    try:
        return read_safetensors(Path(file.path))
    except SafetensorsError as problem:
        return BrokenFile(str(problem))
