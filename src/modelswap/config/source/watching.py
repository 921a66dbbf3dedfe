"""Changes of the configuration on disk are found by polling with `stat`.

Polling follows links and sees what notifications miss: bind mounts, network folders, and a link that was
exchanged (docs/decisions/0005). A change counts once two polls in a row see the same: a file that is
being written is left alone.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from .source import SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Stamp = tuple[tuple[str, int, int, int], ...]
"""What `stat` says of each file that is there."""


class Watch:
    def __init__(self, files: Sequence[Path], folder: Path | None) -> None:
        """Watch *files*, and every YAML file of *folder*, from now on."""
        self._files = files
        self._folder = folder
        self._named: tuple[Path, ...] = ()
        self._seen: tuple[Stamp, Stamp] = self._poll()
        self._pending: tuple[Stamp, Stamp] = self._seen

    def watch_also(self, named: Sequence[Path]) -> None:
        """Watch files that the configuration names, too; a change that was seen before is kept."""
        if tuple(named) != self._named:
            self._named = tuple(named)
            stamp = stamps(self._named)
            self._seen, self._pending = (self._seen[0], stamp), (self._pending[0], stamp)

    def has_changed(self) -> bool:
        """Poll; report each change once. Files that are all gone are no change."""
        now = self._poll()
        is_new = bool(now[0]) and now != self._seen and now == self._pending
        if is_new:
            self._seen = now
        self._pending = now
        return is_new

    @property
    def is_stable(self) -> bool:
        """Nothing has happened since the last change that was reported."""
        return self._pending == self._seen

    @property
    def is_gone(self) -> bool:
        """At the last poll there was no file of the configuration."""
        return not self._pending[0]

    def _poll(self) -> tuple[Stamp, Stamp]:
        files = list(self._files)
        if self._folder is not None:
            with suppress(OSError):
                files += sorted(f for f in self._folder.iterdir() if f.name.endswith(SUFFIXES))
        return stamps(files), stamps(self._named)


def stamps(files: Sequence[Path]) -> Stamp:
    """Look at the files."""
    found: list[tuple[str, int, int, int]] = []
    for file in files:
        with suppress(OSError, ValueError):  # not there, or a name that cannot be
            stat = file.stat()
            found.append((str(file), stat.st_mtime_ns, stat.st_size, stat.st_ino))
    return tuple(found)
