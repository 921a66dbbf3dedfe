"""Walks folders and notes the files that a model may consist of.

Guarantees: each folder is visited once, by its own path before any symbolic link to it; the order does
not depend on the file system; at most `MOST_ENTRIES` entries are looked at; nothing is opened.
Does not: look into hidden folders. Kubernetes keeps the versions of a mounted volume in `..data`, and
download programs their own state in `.cache`.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_ENTRIES: Final = 500_000
"""Files and folders below one root: seconds of looking."""
MOST_DEPTH: Final = 32
"""Folders within folders; stores have five."""
UNFINISHED: Final = (
    ".part", ".partial", ".incomplete", ".download", ".downloading", ".crdownload", ".aria2", ".tmp",
    ".!qb",
)  # fmt: skip
"""How download programs end the name of a file that is not whole."""
_JSON: Final = {
    "config.json", "adapter_config.json", "model_index.json", "modules.json", "tokenizer_config.json",
    "chat_template.json", "chat_template.jinja", "model.safetensors.index.json",
}  # fmt: skip
"""Files beside safetensors that say what a folder is."""

_UNPRINTABLE: Final = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
"""Control characters, and bytes of a name that are not UTF-8: JSON cannot carry them."""


Identity = tuple[int, int] | str
"""The same for two paths to one file: device and inode, or the path where Windows tells no inode."""


@dataclass(frozen=True, slots=True)
class Remark:
    """Something that was noticed about a file or a folder."""

    path: str
    text: str
    """A clause that goes on after the path."""


@dataclass(frozen=True, slots=True)
class FoundFile:
    path: str
    name: str
    size: int
    mtime_ns: int
    inode: int
    device: int
    is_link: bool

    @classmethod
    def of(cls, path: str, name: str, found: os.stat_result, *, is_link: bool) -> FoundFile:
        return cls(
            path=path, name=name, size=found.st_size, mtime_ns=found.st_mtime_ns,
            inode=found.st_ino, device=found.st_dev, is_link=is_link,
        )  # fmt: skip

    @property
    def identity(self) -> Identity:
        return (self.device, self.inode) if self.inode else self.path


@dataclass(slots=True)
class Folder:
    path: str
    parts: tuple[str, ...]
    """Names from below the root down to this folder."""
    files: dict[str, FoundFile] = field(default_factory=dict[str, FoundFile])
    """By name, in order: GGUF, safetensors, and the files that explain them."""
    folders: frozenset[str] = frozenset()
    unfinished: tuple[str, ...] = ()
    """Names of files that are being downloaded."""


def is_weights(name: str) -> bool:
    return name.lower().endswith((".gguf", ".safetensors"))


class Walk:
    """One walk below one root; `remarks` holds what could not be looked at."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._seen: set[tuple[int, int]] = set()
        self._entries = 0
        self._prune: set[str] = set()
        self.remarks: list[Remark] = []

    def prune(self, folder: Folder) -> None:
        """Do not look into the folders of the one that was just returned."""
        self._prune.add(folder.path)

    def __iter__(self) -> Iterator[Folder]:
        waiting: list[tuple[str, tuple[str, ...]]] = [(self._root, ())]
        links: list[tuple[str, tuple[str, ...]]] = []
        while waiting or links:
            if not waiting:  # links last, so that a folder has its own path
                links.sort(reverse=True)
                waiting.append(links.pop())
            path, parts = waiting.pop()
            folder = self._look(path, parts, links)
            if folder is None:
                continue
            yield folder
            if folder.path not in self._prune:
                below = sorted(folder.folders, reverse=True)
                waiting += [(os.path.join(path, name), (*parts, name)) for name in below]  # noqa: PTH118
            if self._entries > MOST_ENTRIES:
                self._remark(
                    self._root, f"has more than {MOST_ENTRIES} entries: the rest was left out"
                )
                return

    def _look(
        self, path: str, parts: tuple[str, ...], links: list[tuple[str, tuple[str, ...]]]
    ) -> Folder | None:
        if len(parts) > MOST_DEPTH:
            self._remark(path, f"lies more than {MOST_DEPTH} folders deep: it was left out")
            return None
        try:
            if not self._is_new(os.stat(path), path):  # noqa: PTH116 - thousands of paths
                return None
            with os.scandir(path) as entries:
                return self._sort(path, parts, entries, links)
        except OSError as problem:
            self._remark(path, f"cannot be read: {problem.strerror}")
            return None

    def _is_new(self, found: os.stat_result, path: str) -> bool:
        if not stat.S_ISDIR(found.st_mode):
            self._remark(path, "is not a folder")
            return False
        identity = (found.st_dev, found.st_ino)
        is_new = not found.st_ino or identity not in self._seen
        self._seen.add(identity)
        return is_new

    def _sort(
        self,
        path: str,
        parts: tuple[str, ...],
        entries: Iterator[os.DirEntry[str]],
        links: list[tuple[str, tuple[str, ...]]],
    ) -> Folder:
        files: list[FoundFile] = []
        folders: list[str] = []
        unfinished: list[str] = []
        for entry in entries:
            self._entries += 1
            if self._entries > MOST_ENTRIES:
                break
            name = entry.name
            if name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(name)
            elif is_weights(name) or name in _JSON:
                if (file := self._file(entry)) is not None:
                    files.append(file)
            elif name.lower().endswith(UNFINISHED):
                unfinished.append(name)
            elif entry.is_symlink() and self._leads_to_folder(entry):
                links.append((entry.path, (*parts, name)))
        files.sort(key=lambda file: file.name)
        by_name = {file.name: file for file in files}
        return Folder(path, parts, by_name, frozenset(folders), tuple(sorted(unfinished)))

    def _leads_to_folder(self, entry: os.DirEntry[str]) -> bool:
        try:
            return entry.is_dir()
        except OSError as problem:  # a link to itself
            self._remark(entry.path, problem.strerror or "cannot be read")
            return False

    def _file(self, entry: os.DirEntry[str]) -> FoundFile | None:
        if _UNPRINTABLE.search(entry.path):
            self._remark(entry.path, "has a name that cannot be shown: it was left out")
            return None
        try:
            found = entry.stat()
        except OSError as problem:
            is_dangling = isinstance(problem, FileNotFoundError) and entry.is_symlink()
            text = "points to a file that does not exist" if is_dangling else problem.strerror
            self._remark(entry.path, text or "cannot be read")
            return None
        if not stat.S_ISREG(found.st_mode):
            if not stat.S_ISDIR(found.st_mode):
                self._remark(entry.path, "is not a regular file")
            return None
        return FoundFile.of(entry.path, entry.name, found, is_link=entry.is_symlink())

    def _remark(self, path: str, text: str) -> None:
        shown = _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], path)
        self.remarks.append(Remark(shown, text))


def look_at(path: str) -> Folder:
    """Return what one folder holds; empty where it cannot be looked at."""
    return next(iter(Walk(path)), Folder(path, ()))
