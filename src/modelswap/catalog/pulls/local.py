"""Finds what was pulled: a look at the disk, and at nothing else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelswap.catalog.files import look_at
from modelswap.catalog.models.safetensors_folder import listed
from modelswap.catalog.pull_source import HubSource, OllamaSource, UrlSource
from modelswap.catalog.stores.hugging_face import snapshots_in
from modelswap.catalog.stores.ollama_manifest import MANIFESTS, ManifestError, Store

from .hub_choice import HubChoice, NoSuchModelError, choose_files
from .model import PulledModel
from .tree import read_tree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from modelswap.catalog.pull_source import PullSource

    from .places import Places

_MOST_ENTRIES: Final = 20_000
"""Files and folders of one snapshot that are looked at."""


def locate(source: PullSource, places: Places) -> PulledModel | None:
    """Return the model if all its files are here."""
    match source:
        case HubSource():
            return _in_the_cache(source, places)
        case OllamaSource():
            return next(filter(None, (in_store(source, store) for store in places.ollama)), None)
        case UrlSource():
            files = tuple(places.files_of(source))
            return PulledModel(path=files[0], files=files) if all(map(is_file, files)) else None


def _in_the_cache(source: HubSource, places: Places) -> PulledModel | None:
    snapshots = snapshots_in(places.repository(source.repository), [])
    return next(filter(None, (in_snapshot(source, Path(one)) for one in snapshots)), None)


def in_snapshot(source: HubSource, snapshot: Path) -> PulledModel | None:
    """Return the model if this revision's folder holds all its files.

    Where the hub's list of files is not kept, what is there counts as all. A source without a
    quantization is then the preferred one or none: another program may have loaded any.
    """
    tree = read_tree(snapshot.parent.parent, snapshot.name)
    is_vague = tree is None and not source.quantization and not source.file
    try:
        choice = choose_files(source, list(tree if tree is not None else _paths(snapshot)))
    except NoSuchModelError:
        return None
    if is_vague and not choice.is_folder and not is_preferred(choice):
        return None
    if choice.is_folder and not _has_all_parts(snapshot):
        return None
    return pulled(choice, snapshot) if all(is_file(snapshot / one) for one in choice.all) else None


def is_preferred(choice: HubChoice) -> bool:
    return "q4_k_m" in choice.files[0].lower()


def pulled(choice: HubChoice, snapshot: Path) -> PulledModel:
    files = tuple(snapshot / path for path in choice.files)
    mmproj = snapshot / choice.mmproj if choice.mmproj else None
    path = snapshot if choice.is_folder else files[0]
    return PulledModel(path=path, files=files, mmproj=mmproj)


def _paths(folder: Path) -> Iterator[str]:
    """Yield the paths of the files below a folder, without those of links that lead nowhere."""
    waiting, entries = [""], 0
    while waiting:
        below = waiting.pop()
        try:
            found = sorted(os.scandir(folder / below), key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in found:
            entries += 1
            if entries > _MOST_ENTRIES:
                return
            path = f"{below}/{entry.name}".lstrip("/")
            if entry.is_dir(follow_symlinks=False):
                waiting.append(path)
            elif is_file(Path(entry.path)):
                yield path


def _has_all_parts(snapshot: Path) -> bool:
    """Tell whether the files are there that the list of tensors names, or the one file without a list."""
    try:
        listed(look_at(str(snapshot)), [])
    except (OSError, ValueError, RecursionError):
        return False
    return True


def in_store(source: OllamaSource, store: Path) -> PulledModel | None:
    """Return the model if a store has its manifest and all its blobs."""
    for folder in MANIFESTS:
        path = store / folder / source.host / source.namespace / source.name / source.tag
        if is_file(path):
            try:
                return _from_manifest(Store(store), path)
            except ManifestError:
                return None
    return None


def _from_manifest(store: Store, path: Path) -> PulledModel | None:
    manifest = store.read_manifest(path)
    weights, projectors, adapters = (
        tuple(Path(store.blob(layer).path) for layer in manifest.of_kind(kind))
        for kind in ("model", "projector", "adapter")
    )
    if len(weights) != 1:  # llama.cpp finds parts by their names, which blobs lack
        return None
    return PulledModel(
        path=weights[0],
        files=weights,
        mmproj=next(iter(projectors), None),
        adapters=adapters,
        options=store.options(manifest),
    )


def is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False
