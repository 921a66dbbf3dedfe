"""Whether a file system has room for a download: before it begins, and while it is written."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final

from modelswap.core.explaining.quantities import size_text
from modelswap.pull.failures import PullError
from modelswap.pull.progress import PullFailure
from modelswap.units import Bytes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_MARGIN: Final = Bytes(256 << 20)
"""Left free on the file system: other programs write there meanwhile."""
_LOOK_EVERY: Final = Bytes(16 << 20)
"""Written between two looks: a small part of the margin; a look takes some microseconds."""


def free_bytes(folder: Path) -> Bytes:
    """Return what this user may still write to the file system of a folder that may not exist yet."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return Bytes(shutil.disk_usage(existing).free)


class Room:
    """The file system of a folder; one that does not say what is free counts as roomy."""

    def __init__(self, folder: Path, free: Callable[[Path], Bytes] | None = None) -> None:
        self._folder = folder
        self._free = free or free_bytes
        self._unseen = 0

    def need(self, missing: int) -> None:
        """Raise `PullError` where there is no room for so many more bytes."""
        there = self._there()
        if missing and there is not None and missing + _MARGIN > there:
            raise self._full(f"{size_text(missing)} are still to come and", there)

    def written(self, count: int) -> None:
        """Note bytes that were written; raise `PullError` where the file system is about to be full.

        A server need not say how long its file is, and other programs write too.
        """
        self._unseen += count
        if self._unseen >= _LOOK_EVERY:
            self._unseen = 0
            there = self._there()
            if there is not None and there < _MARGIN:
                raise self._full("the file is not whole yet, and only", there)

    def _there(self) -> Bytes | None:
        try:
            return self._free(self._folder)
        except OSError:
            return None

    def _full(self, what: str, there: Bytes) -> PullError:
        text = (
            f"{self._folder}: {what} {size_text(there)} are free"
            f" ({size_text(_MARGIN)} must stay free): make room, or set another folder"
        )
        return PullError(PullFailure.DISK_FULL, text)
