"""The list of a revision's files, as `huggingface_hub` keeps it in its cache: `trees/COMMIT.json`.

With it an incomplete model is known as such without asking the hub.
Source: `huggingface_hub/_tree_cache.py`, version 1 of the format.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from modelswap.catalog.small_files import read_start

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_VERSION: Final = 1
"""Of the format; a list of another version is not read."""
_MOST_TREE: Final = 32 << 20
"""Bytes of a list: some 150 a file, and repositories have some thousands at most."""


class TreeEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    size: int
    blob_id: str
    """Git's SHA-1 of the file, or of the pointer that stands for a large one."""
    lfs_sha256: str | None = None
    lfs_size: int | None = None


class _Tree(msgspec.Struct):
    format_version: int
    files: dict[str, TreeEntry]


_DECODER: Final = msgspec.json.Decoder(_Tree)
"""Made here, as the first use of a type on two threads at once crashes msgspec 0.22."""


def read_tree(repository: Path, commit: str) -> dict[str, TreeEntry] | None:
    """Return the files of a revision; `None` where the list is not there or cannot be read."""
    try:
        data = read_start(repository / "trees" / f"{commit}.json", _MOST_TREE)
        tree = _DECODER.decode(data)
    except (OSError, ValueError, RecursionError):
        return None
    return tree.files if tree.format_version == _VERSION else None


def encode_tree(files: Iterable[tuple[str, TreeEntry]]) -> bytes:
    return msgspec.json.format(msgspec.json.encode(_Tree(_VERSION, dict(sorted(files)))), indent=1)
