"""Looks at the places on disk by way of the catalog, and remembers the headers of files that stay.

The cache of headers lies in the user's cache folder, so that the next start reads only new files.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from modelswap.catalog.header_cache import HeaderCache
from modelswap.catalog.roots import Root, default_roots
from modelswap.catalog.scan import scan

from .folder_stamp import folder_stamp
from .places import Findings, Places

if TYPE_CHECKING:
    from collections.abc import Iterator


class Finder:
    """Does not: serve two threads at once."""

    def __init__(self, cache: Path | None = None) -> None:
        self._cache = HeaderCache(cache or _cache_file())
        self._files: tuple[Path, ...] = ()

    def find(self, places: Places) -> Findings:
        """Look at every place; what cannot be looked at is said and left out."""
        problems: list[str] = []
        roots = tuple(_roots(places, problems))
        if not roots:
            return Findings((), tuple(problems))
        catalog = scan(roots, cache=self._cache)
        problems += (f"{one.path}: {one.text}" for one in catalog.problems)
        self._files = tuple(
            file for one in catalog.models for file in (*one.files, one.mmproj) if file is not None
        )
        return Findings(catalog.models, tuple(problems))

    def stamp(self, places: Places) -> int:
        """Return a number that stays the same as long as `find` would find the same."""
        return folder_stamp([root.path for root in _roots(places, [])], self._files)


def _roots(places: Places, problems: list[str]) -> Iterator[Root]:
    yield from map(Root, places.folders)
    usual = default_roots() if places.usual or places.stores else ()
    there = {root.source.value for root in usual}
    problems += (
        f"no store of {store} was found on this machine"
        for store in places.stores
        if store not in there
    )
    yield from (root for root in usual if places.usual or root.source.value in places.stores)


def _cache_file() -> Path | None:
    """Return where headers are kept; none where the user has no home."""
    base = os.environ.get("XDG_CACHE_HOME")
    with suppress(RuntimeError):
        return (Path(base) if base else Path.home() / ".cache") / "modelswap" / "headers"
    return None
