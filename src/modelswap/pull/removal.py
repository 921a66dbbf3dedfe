"""Removes the files of a model from Hugging Face's cache.

Guarantees: only what lies in a repository of that cache is removed; a file of another model stays, and a
projector as long as another model of the repository is there. A revision without weights goes by the
cache's own strategy, with all that belongs to it.
Does not: run on the event loop; it reads and writes disks.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelswap.units import Bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

_SNAPSHOTS: Final = "snapshots"
_REPOSITORY: Final = "models--"
_WEIGHTS: Final = (".gguf", ".safetensors", ".bin")
_PROJECTOR: Final = "mmproj"


class NotInCacheError(Exception):
    """The files are not the cache's: they are not removed."""


def remove(files: Sequence[Path]) -> Bytes:
    """Remove the files of one model from every revision of its repository; return the bytes freed.

    Raises:
        NotInCacheError: a file lies elsewhere; nothing is removed then.
        OSError: a file cannot be removed.
    """
    repositories = {_repository_of(file) for file in files}
    repository = repositories.pop() if repositories else None
    if repository is None or repositories:
        raise NotInCacheError
    names = {_name_of(file, repository) for file in files}
    before = _size(repository)
    snapshots = [one for one in (repository / _SNAPSHOTS).iterdir() if one.is_dir()]
    gone = [file for one in snapshots for file in _files_in(one, names)]
    blobs = [file.resolve() for file in gone if file.is_symlink()]
    for file in gone:
        file.unlink(missing_ok=True)
    used = {one.resolve() for snapshot in snapshots for one in snapshot.rglob("*")}
    for blob in blobs:
        if blob not in used and blob.is_relative_to(repository.resolve()):
            blob.unlink(missing_ok=True)
    if empty := [one for one in snapshots if not _weights(one)]:
        _remove_revisions(repository, empty)
    return Bytes(max(0, before - _size(repository)))


def _files_in(snapshot: Path, names: set[str]) -> list[Path]:
    """Return the files of these names in a snapshot, without a projector that another model there needs."""
    others = [
        one for one in _weights(snapshot) if one.relative_to(snapshot).as_posix() not in names
    ]
    keeps_projector = any(_PROJECTOR not in one.name.lower() for one in others)
    return [
        snapshot / name
        for name in sorted(names)
        if not (keeps_projector and _PROJECTOR in name.lower())
    ]


def _repository_of(path: Path) -> Path | None:
    """Return the cache's folder of the repository that a file of a snapshot belongs to."""
    parts = path.parts
    for index in range(len(parts) - 1, 0, -1):
        if parts[index] == _SNAPSHOTS and parts[index - 1].startswith(_REPOSITORY):
            return Path(*parts[:index])
    return None


def _name_of(file: Path, repository: Path) -> str:
    """Return a file's path in its repository."""
    return Path(*file.relative_to(repository / _SNAPSHOTS).parts[1:]).as_posix()


def _weights(snapshot: Path) -> list[Path]:
    return [one for one in snapshot.rglob("*") if one.name.lower().endswith(_WEIGHTS)]


def _remove_revisions(repository: Path, empty: Sequence[Path]) -> None:
    """Remove revisions that hold no weights any more, as `huggingface_hub` does it."""
    from huggingface_hub import scan_cache_dir  # noqa: PLC0415 - slow to import, and seldom used

    cache = scan_cache_dir(repository.parent)
    known = {
        revision.commit_hash
        for one in cache.repos
        if one.repo_path == repository
        for revision in one.revisions
    }
    gone = known.intersection(one.name for one in empty)
    if gone:
        cache.delete_revisions(*gone).execute()


def _size(repository: Path) -> int:
    return sum(
        one.stat().st_size
        for one in repository.rglob("*")
        if one.is_file() and not one.is_symlink()
    )
