"""Reads the headers of found files, each only when the cache does not know it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .gguf.array_lengths import ArrayLengths
from .gguf.header import read_header
from .gguf.window import GgufError
from .models.safetensors_header import SafetensorsError, read_safetensors
from .models.summary import BrokenFile, GgufSummary, SafetensorsSummary, summarize

if TYPE_CHECKING:
    from .files import FoundFile
    from .header_cache import HeaderCache


class HeaderReader:
    def __init__(self, cache: HeaderCache) -> None:
        self._cache = cache
        self._arrays = ArrayLengths()

    def gguf(self, file: FoundFile) -> GgufSummary | BrokenFile:
        known = self._cache.get(file)
        if isinstance(known, GgufSummary | BrokenFile):
            return known
        try:
            found = summarize(read_header(Path(file.path), self._arrays))
        except GgufError as problem:
            broken = BrokenFile(str(problem))
            self._cache.put(file, broken)
            return broken
        except OSError as problem:  # may be otherwise the next time, with the file unchanged
            return BrokenFile(f"cannot be read: {problem.strerror}")
        self._cache.put(file, found)
        return found

    def safetensors(self, file: FoundFile) -> SafetensorsSummary | BrokenFile:
        known = self._cache.get(file)
        if isinstance(known, SafetensorsSummary | BrokenFile):
            return known
        try:
            found = read_safetensors(Path(file.path))
        except SafetensorsError as problem:
            broken = BrokenFile(str(problem))
            self._cache.put(file, broken)
            return broken
        except OSError as problem:
            return BrokenFile(f"cannot be read: {problem.strerror}")
        self._cache.put(file, found)
        return found
