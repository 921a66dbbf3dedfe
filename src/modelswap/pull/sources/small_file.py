"""Writes small files of a store: lists of files, names of revisions, manifests."""

from __future__ import annotations

from secrets import token_hex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def write_whole(path: Path, data: bytes, beside: Path | None = None) -> None:
    """Write a file at once, so that its readers see it whole; it begins as a file of the folder `beside`.

    Two threads, or programs in two containers, may write the same one: each begins its own. Raise `OSError`.
    """
    folder = path.parent if beside is None else beside
    for one in (path.parent, folder):
        one.mkdir(parents=True, exist_ok=True)
    new = folder / f"{path.name[:80]}.{token_hex(8)}.tmp"
    try:
        new.write_bytes(data)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
