"""Describes a model that was pulled, by the headers of its files."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from modelswap.catalog.files import FoundFile, look_at
from modelswap.catalog.found import FoundModel, ModelFormat, ModelSource
from modelswap.catalog.header_cache import HeaderCache
from modelswap.catalog.header_reader import HeaderReader
from modelswap.catalog.names import stem_parts
from modelswap.catalog.stores.hugging_face import repository_of
from modelswap.catalog.unnamed_model import Place
from modelswap.units import Bytes

from .gguf_files import described, with_projector
from .projectors import Projector
from .safetensors_folder import find_model
from .summary import BrokenFile, GgufSummary

if TYPE_CHECKING:
    from pathlib import Path

    from modelswap.catalog.pulled import PulledModel


def describe(pulled: PulledModel, name: str, source: ModelSource) -> FoundModel:
    """Return what a catalog would say of a pulled model; `problem` says why it cannot be served.

    Raises:
        OSError: a file cannot be looked at.
    """
    files = [_found(path) for path in pulled.all_files]
    is_gguf = not pulled.path.is_dir()
    model = FoundModel(
        id=name,
        aliases=(),
        path=pulled.path,
        files=pulled.files,
        size=Bytes(sum(file.size for file in files)),
        format=ModelFormat.GGUF if is_gguf else ModelFormat.SAFETENSORS,
        source=source,
        mmproj=pulled.mmproj,
        options=pulled.options,
        adapters=pulled.adapters,
        quantization=stem_parts(pulled.path.stem).tag.removeprefix("i1-"),
    )
    return _with_header(model, files) if is_gguf else _with_config(model)


def _with_header(model: FoundModel, files: list[FoundFile]) -> FoundModel:
    reader = HeaderReader(HeaderCache())
    found = reader.gguf(files[0])
    if isinstance(found, BrokenFile):
        return replace(model, problem=found.text)
    model = described(model, found, stem_parts(model.path.stem).base)
    if model.mmproj is not None:
        projector = reader.gguf(files[-1])
        if isinstance(projector, GgufSummary):
            model = with_projector(model, Projector.of(files[-1], "mmproj", projector))
    return model


def _with_config(model: FoundModel) -> FoundModel:
    """Return a folder's model as a scan finds it; where it finds none, with the reason."""
    repository = repository_of(model.path.parent.parent)
    place = Place(model.source, repository.name, (), repository)
    reader = HeaderReader(HeaderCache())
    verdict = find_model(look_at(str(model.path)), place, reader.safetensors)
    if verdict.candidate is not None:
        return replace(verdict.candidate.model, id=model.id)
    return model if verdict.set_aside is None else replace(model, problem=verdict.set_aside.text)


def _found(path: Path) -> FoundFile:
    return FoundFile.of(str(path), path.name, os.stat(path), is_link=path.is_symlink())  # noqa: PTH116 - as in `files`
