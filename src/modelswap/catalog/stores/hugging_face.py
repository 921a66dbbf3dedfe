"""Hugging Face's cache: `models--OWNER--REPO/` with `refs/`, `snapshots/REVISION/` and `blobs/`.

A file of a snapshot is a link to a blob, or the file itself where there are no links. A snapshot holds
only what was downloaded of that revision; what an older one has beside it is listed too.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelswap.catalog.files import Remark
from modelswap.catalog.small_files import read_start
from modelswap.catalog.unnamed_model import Repository

if TYPE_CHECKING:
    from modelswap.catalog.files import Folder

_MODELS: Final = "models--"
_OTHERS: Final = ("datasets--", "spaces--")
_REVISION: Final = re.compile(r"[0-9a-zA-Z][0-9a-zA-Z._-]{0,127}")
_MOST_SNAPSHOTS: Final = 64
"""Revisions of one repository that are looked at."""
_MOST_REF: Final = 256
"""Bytes of a file in `refs`: it holds the 40 digits of a commit."""
_UNFINISHED: Final = ".incomplete"


@dataclass(frozen=True, slots=True)
class CachedRepository:
    repository: Repository
    snapshots: tuple[str, ...]
    """Paths, the one that `refs/main` names first, then the newest."""
    remarks: tuple[Remark, ...]


def is_repository(folder: Folder) -> bool:
    return Path(folder.path).name.startswith(_MODELS) and "snapshots" in folder.folders


def is_other(folder: Folder) -> bool:
    """Tell whether it is a repository of data or of a program."""
    return Path(folder.path).name.startswith(_OTHERS)


def open_repository(folder: Folder) -> CachedRepository:
    path = Path(folder.path)
    remarks: list[Remark] = []
    snapshots = snapshots_in(path, remarks)
    remarks += _unfinished(path)
    return CachedRepository(repository_of(path), snapshots, tuple(remarks))


def repository_of(path: Path) -> Repository:
    """Return which repository a folder of the cache is."""
    owner, _, name = path.name.removeprefix(_MODELS).partition("--")
    return Repository(owner, name) if name else Repository("", owner)


def snapshots_in(path: Path, remarks: list[Remark]) -> tuple[str, ...]:
    """Return the paths of a repository's revisions, in order of preference; say in `remarks` why there are none."""
    main = _main(path)
    try:
        with os.scandir(path / "snapshots") as entries:
            found = [
                (entry.name != main, -changed, entry.path)
                for entry in entries
                if _REVISION.fullmatch(entry.name)
                and (changed := _folder_changed(entry)) is not None
            ]
    except OSError as problem:
        remarks.append(Remark(str(path / "snapshots"), f"cannot be read: {problem.strerror}"))
        return ()
    return tuple(path for _, _, path in sorted(found)[:_MOST_SNAPSHOTS])


def _folder_changed(entry: os.DirEntry[str]) -> int | None:
    """Return when a folder changed, in nanoseconds; `None`: it is none, or a link that leads nowhere."""
    try:
        return entry.stat().st_mtime_ns if entry.is_dir() else None
    except OSError:
        return None


def _main(path: Path) -> str:
    """Return the revision that `refs/main` names; empty where it does not say."""
    try:
        main = read_start(path / "refs" / "main", _MOST_REF)
    except OSError:
        return ""
    return main.decode("ascii", "replace").strip()


def _unfinished(path: Path) -> list[Remark]:
    try:
        with os.scandir(path / "blobs") as entries:
            names = sorted(entry.name for entry in entries if entry.name.endswith(_UNFINISHED))
    except OSError:
        return []
    count = len(names)
    return (
        [Remark(str(path), f"has {count} unfinished download{'s' * (count > 1)}")] if names else []
    )
