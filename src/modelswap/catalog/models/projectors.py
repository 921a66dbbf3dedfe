"""Pairs projectors (`mmproj`) with the models beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from modelswap.catalog.names import meaningful, stem_parts

from .traits import PROJECTOR_NAME, SPELLED

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from modelswap.catalog.files import FoundFile

    from .summary import GgufSummary

_PREFERRED: Final = ("f16", "bf16", "q8_0", "f32")
"""Quantizations of a projector, the best first: f16 is exact enough, and fast on every device."""


@dataclass(frozen=True, slots=True)
class Projector:
    file: FoundFile
    base: str
    """The model that its name tells; empty where it tells none."""
    tag: str
    summary: GgufSummary

    @classmethod
    def of(cls, file: FoundFile, stem: str, summary: GgufSummary) -> Projector:
        parts = stem_parts(PROJECTOR_NAME.sub(r"\1", stem).strip("-_."))
        return cls(file, parts.base, SPELLED.get(parts.tag, parts.tag), summary)

    @property
    def sees(self) -> bool:
        """Old projectors do not say what they take; those take images."""
        return self.summary.has_vision_encoder or not self.summary.has_audio_encoder


@dataclass(frozen=True, slots=True)
class Partner:
    """What decides which projector belongs to a model."""

    base: str
    tag: str
    embedding_length: int | None


def pair(models: Sequence[Partner], projectors: Iterable[Projector]) -> list[Projector | None]:
    """Return the projector of each model, in the order of the models."""
    fitting: list[list[Projector]] = [[] for _ in models]
    for projector in projectors:
        for index in _partners(projector, models):
            fitting[index].append(projector)
    return [_best(model, found) for model, found in zip(models, fitting, strict=True)]


def _partners(projector: Projector, models: Sequence[Partner]) -> list[int]:
    """Return the indices of the models that a projector belongs to."""
    bases = {model.base for model in models}
    wanted: set[str] = set()
    if len(bases) == 1:
        return list(range(len(models)))
    named = projector.base and meaningful(projector.base)
    if named:
        wanted = {base for base in bases if base.startswith(named)}
        if not wanted:
            inside = [base for base in bases if base and base in named]
            wanted.update(sorted(inside, key=lambda base: (-len(base), base))[:1])
    else:
        length = projector.summary.projection_length
        wanted = {model.base for model in models if length and model.embedding_length == length}
        if len(wanted) > 1:
            return []
    return [index for index, model in enumerate(models) if model.base in wanted]


def _best(model: Partner, found: list[Projector]) -> Projector | None:
    """Return the most specific projector, of the model's own quantization or the best one."""

    def order(projector: Projector) -> tuple[bool, int, bool, int, str]:
        tag = projector.tag
        rank = _PREFERRED.index(tag) if tag in _PREFERRED else len(_PREFERRED)
        return (
            projector.base != model.base,
            -len(projector.base),
            tag != model.tag,
            rank,
            projector.file.path,
        )

    return min(found, key=order, default=None)
