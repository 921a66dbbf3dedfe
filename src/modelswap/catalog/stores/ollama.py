"""Models of Ollama's store, by the names that Ollama gives them.

Its chat templates are not taken: they are written in Go's template language. A server uses the one that
the GGUF file holds.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelswap.catalog.files import Remark
from modelswap.catalog.found import FoundModel, ModelFormat, ModelSource
from modelswap.catalog.models.gguf_files import described, with_projector
from modelswap.catalog.models.projectors import Projector
from modelswap.catalog.models.summary import BrokenFile, GgufSummary
from modelswap.catalog.models.traits import problem
from modelswap.catalog.names import NameChoice, tagged
from modelswap.catalog.pull_source import DEFAULT_TAG, OllamaSource
from modelswap.catalog.unnamed_model import UnnamedModel
from modelswap.units import Bytes

from .ollama_manifest import MANIFESTS, ManifestError, Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from modelswap.catalog.files import Folder, FoundFile

    from .ollama_manifest import Manifest

    Read = Callable[[FoundFile], GgufSummary | BrokenFile]

_DEPTH: Final = 4
"""Folders of a manifest: host, namespace, name, tag."""
_MOST_MANIFESTS: Final = 10_000
"""Manifests of one store that are read."""
_OWN_TENSORS: Final = "tensor"


@dataclass(frozen=True, slots=True)
class StoreModels:
    candidates: tuple[UnnamedModel, ...]
    problems: tuple[Remark, ...]
    set_aside: tuple[Remark, ...]


def is_store(folder: Folder) -> bool:
    return "blobs" in folder.folders and not folder.folders.isdisjoint(MANIFESTS)


def find_models(path: Path, read: Read) -> StoreModels:
    """Return the models of a store; names that stand for the same blobs are one model."""
    store = Store(path)
    problems: list[Remark] = []
    set_aside: list[Remark] = []
    same: dict[object, list[tuple[OllamaSource, Path, Manifest]]] = {}
    candidates: list[UnnamedModel] = []
    for name, manifest_path in _manifests(path, problems):
        try:
            manifest = store.read_manifest(manifest_path)
        except ManifestError as error:
            candidates.append(_broken(name, manifest_path, str(error)))
            continue
        if manifest.config.remote_host or manifest.config.remote_model:
            text = (
                f"runs on {manifest.config.remote_host or 'a remote host'}: nothing of it is here"
            )
            set_aside.append(Remark(str(manifest_path), text))
            continue
        layers = frozenset((layer.kind, layer.digest) for layer in manifest.layers)
        same.setdefault(layers or str(manifest_path), []).append((name, manifest_path, manifest))
    candidates += [_model(store, names, read) for names in same.values()]
    return StoreModels(tuple(candidates), tuple(problems), tuple(set_aside))


def _manifests(path: Path, problems: list[Remark]) -> Iterator[tuple[OllamaSource, Path]]:
    seen: set[tuple[str, ...]] = set()
    for folder in MANIFESTS:
        for parts in sorted(_files(path / folder, (), problems)):
            key = tuple(part.lower() for part in parts)
            if len(parts) != _DEPTH or key in seen:
                continue
            seen.add(key)
            if len(seen) > _MOST_MANIFESTS:
                text = f"has more than {_MOST_MANIFESTS} manifests: the rest was left out"
                problems.append(Remark(str(path), text))
                return
            yield OllamaSource(*parts), path.joinpath(folder, *parts)


def _files(path: Path, parts: tuple[str, ...], problems: list[Remark]) -> Iterator[tuple[str, ...]]:
    """Yield the parts of the paths of all manifests; links to folders are not followed."""
    try:
        with os.scandir(path) as entries:
            found = [
                (entry.name, entry.is_dir(follow_symlinks=False))
                for entry in entries
                if not entry.name.startswith(".") and entry.name.isprintable()
            ]
    except FileNotFoundError:
        return
    except OSError as problem:
        problems.append(Remark(str(path), f"cannot be read: {problem.strerror}"))
        return
    for name, is_folder in found:
        if not is_folder:
            yield (*parts, name)
        elif len(parts) < _DEPTH - 1:
            yield from _files(path / name, (*parts, name), problems)


def _choice(
    name: OllamaSource, path: Path, aliases: tuple[str, ...], *, is_broken: bool
) -> NameChoice:
    base, tag = name.base.lower(), name.tag.lower()
    whole = f"{name.host}/{name.namespace}/{name.name}".lower()
    written = tagged(name.base, name.tag)
    return NameChoice(
        base=base, tag=tag, longer=(f"ollama/{base}:{tag}", f"ollama/{whole}:{tag}"),
        aliases=(*aliases, *([written] if written != tagged(base, tag) else [])),
        path=str(path), is_broken=is_broken,
    )  # fmt: skip


def _broken(name: OllamaSource, path: Path, text: str) -> UnnamedModel:
    model = FoundModel(
        id="", aliases=(), path=path, files=(), size=Bytes(0), format=ModelFormat.GGUF,
        source=ModelSource.OLLAMA, problem=text,
    )  # fmt: skip
    choice = _choice(name, path, (), is_broken=True)
    return UnnamedModel(model, choice, str(path), is_shared=True)


def _model(
    store: Store, names: list[tuple[OllamaSource, Path, Manifest]], read: Read
) -> UnnamedModel:
    names.sort(key=lambda each: (each[0].tag == DEFAULT_TAG, each[0].base, each[0].tag))
    name, path, manifest = names[0]
    aliases = tuple(tagged(other.base, other.tag).lower() for other, _, _ in names[1:])
    try:
        model, file = _whole(store, manifest, read, name)
    except ManifestError as error:
        return _broken(name, path, str(error))
    if model.problem:
        model = replace(model, path=path)  # it has the name; the reason has the blob's
    choice = _choice(name, path, aliases, is_broken=bool(model.problem))
    return UnnamedModel(model, choice, file.identity, is_shared=True)


def _whole(
    store: Store, manifest: Manifest, read: Read, name: OllamaSource
) -> tuple[FoundModel, FoundFile]:
    weights = manifest.of_kind("model")
    if not weights:
        if manifest.of_kind(_OWN_TENSORS):
            raise ManifestError(
                "is kept as single tensors for Ollama's own engine; it is no GGUF file"
            )
        raise ManifestError("has no weights in its manifest")
    file = store.blob(weights[0])
    found = read(file)
    summary = found if isinstance(found, GgufSummary) else GgufSummary(version=0)
    adapters = [store.blob(layer) for layer in manifest.of_kind("adapter")]
    model = FoundModel(
        id="",
        aliases=(),
        path=Path(file.path),
        files=(Path(file.path),),
        size=Bytes(file.size + sum(adapter.size for adapter in adapters)),
        format=ModelFormat.GGUF,
        source=ModelSource.OLLAMA,
        quantization=manifest.config.file_type.lower(),
        options=store.options(manifest),
        adapters=tuple(Path(adapter.path) for adapter in adapters),
        problem=_trouble(found, file, len(weights)),
    )
    model = described(model, summary, name.name)
    projector = _projector(store, manifest, read)
    if isinstance(projector, str):
        return replace(model, problem=model.problem or projector), file
    if projector is not None:
        model = replace(
            with_projector(model, projector), size=Bytes(model.size + projector.file.size)
        )
    return model, file


def _trouble(found: GgufSummary | BrokenFile, file: FoundFile, count: int) -> str:
    subject = f"needs {file.name}, which "
    if isinstance(found, BrokenFile):
        return subject + found.text
    if count > 1:
        return (
            f"has {count} files of weights; llama.cpp finds parts by their names, which blobs lack"
        )
    if found.data_end > file.size:
        return f"{subject}is cut off: its tensors end at byte {found.data_end} of {file.size}"
    text = problem(found)
    return subject + text if text else ""


def _projector(store: Store, manifest: Manifest, read: Read) -> Projector | str | None:
    """Return the projector, why it cannot be used, or nothing where the model has none."""
    layers = manifest.of_kind("projector")
    if not layers:
        return None
    file = store.blob(layers[0])
    found = read(file)
    if isinstance(found, BrokenFile):
        return f"has a projector ({file.name}) that {found.text}"
    return Projector.of(file, "mmproj", found)
