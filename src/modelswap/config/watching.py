"""Has the configuration changed on disk?

Looking by `stat`, links followed, sees what notifications miss: bind mounts,
network folders, and a link swapped for another (docs/decisions/0005). A change
counts when it stood still for one look: a file that is being written is left
alone.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Stamp = tuple[tuple[str, int, int, int], ...]
_ENDINGS: Final = frozenset({".yaml", ".yml"})


class Watch:
    def __init__(self, files: Sequence[Path], folder: Path | None) -> None:
        """Look at *files*, and at every YAML file of *folder*."""
        self._files = files
        self._folder = folder
        self._seen: Stamp = self._look()
        self._pending: Stamp = self._seen

    def has_changed(self) -> bool:
        """Look again; tell of each change once. Files that are all gone are no change."""
        now = self._look()
        is_new = bool(now) and now != self._seen and now == self._pending
        if is_new:
            self._seen = now
        self._pending = now
        return is_new

    def _look(self) -> Stamp:
        files = list(self._files)
        if self._folder is not None:
            with suppress(OSError):
                files += sorted(f for f in self._folder.iterdir() if f.suffix in _ENDINGS)
        stamps: list[tuple[str, int, int, int]] = []
        for file in files:
            with suppress(OSError):
                stat = file.stat()
                stamps.append((str(file), stat.st_mtime_ns, stat.st_size, stat.st_ino))
        return tuple(stamps)
