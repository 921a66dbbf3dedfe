"""Which files of a repository of the hub are the model that a source names.

Source: llama.cpp's `common/download.cpp` (`find_best_model`, `get_split_files`, `find_best_sibling`), so that
`-hf OWNER/REPO:QUANT` and `hf:OWNER/REPO:QUANT` are the same files. One thing differs: a quantization must
begin where a word begins, so that `F16` is not `BF16`, as long as a file has it so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from modelswap.catalog.names import part_of, parts_of, stem_parts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from modelswap.catalog.pull_source import HubSource

_ENDING: Final = ".gguf"
_PREFERRED: Final = ("Q4_K_M", "Q8_0")
"""What is taken where a source names no quantization, the first that is there."""
_NOT_A_MODEL: Final = ("mmproj", "imatrix", "mtp-", "eagle3-", "dflash-", "dspark-")
"""Parts of the names of files that go with a model."""
_PROJECTOR: Final = "mmproj"
_SAFETENSORS: Final = ".safetensors"
_DUPLICATE: Final = "consolidated"
"""How the second copy of the weights begins that Mistral's repositories have."""
_BESIDE: Final = (".json", ".txt", ".model", ".jinja", ".tiktoken", ".py")
"""Endings of the files that vLLM and SGLang read beside the weights."""
_MODULE: Final = re.compile(r"\d+_\w+/")
"""Folders of the layers that models for embeddings have behind the transformer: `1_Pooling`."""
_PLAIN: Final = re.compile(r"(?!/)[^\x00-\x1f\x7f-\x9f\\\ud800-\udfff]{1,1024}")
"""No backslash, no control character, nothing that is no character; longer than any path of a real model."""
_MOST_LISTED: Final = 12
"""Quantizations that a message lists."""


@dataclass(frozen=True, slots=True)
class HubChoice:
    """Paths in a repository, with `/`."""

    files: tuple[str, ...]
    """The weights in order, for safetensors also what is beside them."""
    mmproj: str = ""
    is_folder: bool = False
    """Safetensors: a server is given the folder."""

    @property
    def all(self) -> tuple[str, ...]:
        return (*self.files, self.mmproj) if self.mmproj else self.files


class NoSuchModelError(ValueError):
    """The repository has no such model; the text says what it has instead."""


def choose_files(source: HubSource, paths: Sequence[str]) -> HubChoice:
    """Return the files of the model; raise `NoSuchModelError` where the repository has none."""
    paths = sorted(path for path in paths if is_plain(path))
    models = [path for path in paths if _is_model(path)]
    first = _first(source, models, paths)
    if first is None:
        if (
            not models
            and not source.quantization
            and not source.file
            and (folder := _folder(paths))
        ):
            return HubChoice(folder, is_folder=True)
        raise NoSuchModelError(_lack(source, models))
    parts = _parts(first, models if first in models else paths)
    return HubChoice(parts, _projector(first, paths))


def is_plain(path: str) -> bool:
    """Tell whether a path in a repository is one that a file here may have, and that a text may show."""
    return _PLAIN.fullmatch(path) is not None and ".." not in path.split("/")


def _is_model(path: str) -> bool:
    name = path.rpartition("/")[2]
    return name.lower().endswith(_ENDING) and not any(part in name for part in _NOT_A_MODEL)


def _first(source: HubSource, models: list[str], paths: list[str]) -> str | None:
    """Return the file that a server is given."""
    if source.file:
        wanted = source.file.lower()
        return next((path for path in paths if path.lower() == wanted), None)
    firsts = [path for path in models if _number(path) == 1]
    for quantization in (source.quantization,) if source.quantization else _PREFERRED:
        for before in ("(?<![a-z0-9])", ""):
            pattern = re.compile(before + re.escape(quantization) + "[.-]", re.IGNORECASE)
            if (found := next(filter(pattern.search, firsts), None)) is not None:
                return found
    return next(iter(firsts), None) if not source.quantization else None


def _number(path: str) -> int:
    part = part_of(_stem(path))
    return part[1] if part and part[2] > 1 else 1


def _stem(path: str) -> str:
    return path[: -len(_ENDING)]


def _parts(first: str, models: Iterable[str]) -> tuple[str, ...]:
    """Return all parts of a split file, in order; raise where one is missing."""
    there = set(models)
    parts = [part + first[-len(_ENDING) :] for part in parts_of(_stem(first))]
    if missing := [name for name in parts if name not in there]:
        raise NoSuchModelError(
            f"lacks {len(missing)} of the {len(parts)} parts, the first: {missing[0]}"
        )
    return tuple(parts)


def _projector(model: str, paths: Iterable[str]) -> str:
    """Return the projector in the nearest folder, of the bits nearest to the model's."""
    folder = PurePosixPath(model).parent
    best: tuple[int, int] | None = None
    found = ""
    for path in paths:
        if not path.endswith(_ENDING) or _PROJECTOR not in path or path == model:
            continue
        own = PurePosixPath(path).parent
        if own != folder and own not in folder.parents:
            continue
        rank = (-len(own.parts), abs(_bits(path) - _bits(model)))
        if best is None or rank < best:
            best, found = rank, path
    return found


def _bits(path: str) -> int:
    """Return the number in the name of a quantization: 4 for `Q4_K_M`; 0 where it has none."""
    part = part_of(_stem(path))
    tag = stem_parts((part[0] if part else _stem(path)).rpartition("/")[2]).tag
    digits = re.search(r"\d+", tag)
    return int(digits[0]) if digits else 0


def _folder(paths: Iterable[str]) -> tuple[str, ...]:
    """Return the files of a safetensors model; empty where the repository holds none."""
    paths = list(paths)
    weights = [path for path in paths if path.endswith(_SAFETENSORS) and "/" not in path]
    plain = [path for path in weights if not path.startswith(_DUPLICATE)]
    if "config.json" not in paths or not weights:
        return ()
    beside = [path for path in paths if path.endswith(_BESIDE) and "/" not in path]
    modules = [
        path for path in paths if _MODULE.match(path) and path.endswith((*_BESIDE, _SAFETENSORS))
    ]
    return (*(plain or weights), *beside, *modules)


def _lack(source: HubSource, models: list[str]) -> str:
    if source.file:
        return f"has no file {source.file}" + _listed(models)
    if not models:
        return "holds no GGUF file, and no safetensors model"
    tags = {stem_parts(_stem(path).rpartition("/")[2]).tag.upper() for path in models}
    return f"has no quantization {source.quantization}" + _listed(sorted(filter(None, tags)))


def _listed(names: Sequence[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
    return f"; it has {', '.join(names[:_MOST_LISTED])}{more}"
