"""Makes models of the GGUF files of one folder."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelswap.catalog.files import FoundFile, Remark
from modelswap.catalog.found import FoundModel, ModelFormat
from modelswap.catalog.names import from_header, meaningful, part_of, stem_parts, typed
from modelswap.catalog.unnamed_model import Place, UnnamedModel, choose
from modelswap.units import Bytes

from .projectors import Partner, Projector, pair
from .summary import BrokenFile, GgufSummary, total
from .traits import SPELLED, Role, kind, problem, quantization, role, role_by_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from modelswap.catalog.files import Folder

    Read = Callable[[FoundFile], GgufSummary | BrokenFile]

_ENDING: Final = ".gguf"
_NAMED: Final = 3
"""Missing parts that a message names; it counts the others."""
_MOST_PARTS: Final = 1024
"""Parts of one model; the largest known ones have some dozens."""


@dataclass(slots=True)
class GgufGroup:
    """One file, or the parts of one split file."""

    stem: str
    count: int
    """Parts that its name promises; 1 for a file that is whole."""
    files: dict[int, FoundFile] = field(default_factory=dict[int, FoundFile])
    """By the number of the part, from 1 on."""
    summaries: dict[int, GgufSummary | BrokenFile] = field(
        default_factory=dict[int, GgufSummary | BrokenFile]
    )

    @property
    def first(self) -> FoundFile:
        return self.files[min(self.files)]

    @property
    def summary(self) -> GgufSummary | BrokenFile:
        return self.summaries[min(self.files)]


@dataclass(slots=True)
class FolderModels:
    """What the GGUF files of one folder are."""

    candidates: list[UnnamedModel] = field(default_factory=list[UnnamedModel])
    projectors: list[Projector] = field(default_factory=list[Projector])
    problems: list[Remark] = field(default_factory=list[Remark])
    set_aside: list[Remark] = field(default_factory=list[Remark])


def find_models(
    folder: Folder, place: Place, read: Read, inherited: Iterable[Projector] = ()
) -> FolderModels:
    """Return the models of a folder; `inherited` are projectors for a folder that has none."""
    result = FolderModels()
    models: list[GgufGroup] = []
    for group in _groups(folder, read):
        _sort_out(group, result, models)
    named = [_Named.of(group, place) for group in models]
    projectors = result.projectors or list(inherited)
    partners = [
        Partner(each.base, each.tag, each.summary.embedding_length if each.summary else None)
        for each in named
    ]
    paired = pair(partners, projectors) if partners else []
    for each, projector in zip(named, paired, strict=True):
        is_alone = len({other.base for other in named}) == 1
        is_loading = f"{each.group.first.name}.aria2" in folder.unfinished
        result.candidates.append(
            each.candidate(place, projector, alone=is_alone, is_loading=is_loading)
        )
    return result


def is_variant(place: Place) -> bool:
    """Tell whether a folder is one quantization of the model that the folder around it is named after."""
    return bool(place.parts) and not meaningful(place.parts[-1])


def _groups(folder: Folder, read: Read) -> list[GgufGroup]:
    """Return the files of a folder, parts joined by their names, or else by what their headers say."""
    groups: dict[tuple[object, ...], GgufGroup] = {}
    for name, file in folder.files.items():
        if not name.lower().endswith(_ENDING):
            continue
        stem = name[: -len(_ENDING)]
        found = read(file)
        part = part_of(stem)
        number = 1
        if part is not None and part[1] and part[2] > 1:
            key: tuple[object, ...] = (part[0], part[2])
            group = groups.setdefault(key, GgufGroup(part[0], part[2]))
            number = part[1]
        elif isinstance(found, GgufSummary) and found.split_count > 1:
            key = (found.split_count, found.split_tensors)
            group = groups.setdefault(key, GgufGroup(stem, 1))
            number = found.split_number + 1
            while number in group.files:
                number += found.split_count
        else:
            group = groups.setdefault((name,), GgufGroup(stem, 1))
        group.files[number] = file
        group.summaries[number] = found
    return list(groups.values())


def _sort_out(group: GgufGroup, result: FolderModels, models: list[GgufGroup]) -> None:
    found = group.summary
    path = group.first.path
    if isinstance(found, BrokenFile):
        what = role_by_name(group.stem)
        if what is Role.MODEL:
            models.append(group)
        else:
            result.problems.append(Remark(path, found.text))
        return
    what = role(found, group.stem)
    if what is Role.MODEL:
        models.append(group)
    elif found.data_end > group.first.size:
        result.problems.append(Remark(path, _cut_off(found, group.first)))
    elif what is Role.PROJECTOR:
        result.projectors.append(Projector.of(group.first, group.stem, found))
    else:
        result.set_aside.append(Remark(path, what.value))


@dataclass(frozen=True, slots=True)
class _Named:
    """A group with the names that it goes by."""

    group: GgufGroup
    summary: GgufSummary | None
    base: str
    tag: str

    @classmethod
    def of(cls, group: GgufGroup, place: Place) -> _Named:
        found = group.summary
        summary = found if isinstance(found, GgufSummary) else None
        parts = stem_parts(group.stem)
        folder_tag = stem_parts(place.parts[-1]).tag if place.parts else ""
        own = quantization(summary) if summary else ""
        tag = parts.tag or (folder_tag if is_variant(place) else "") or own
        base = parts.base or place.title
        if not base and summary:
            base = from_header(summary.basename, summary.size_label, summary.finetune, summary.name)
        base = base or meaningful(place.root) or typed(group.stem) or "model"
        return cls(group, summary, base, tag)

    def candidate(
        self, place: Place, projector: Projector | None, *, alone: bool, is_loading: bool
    ) -> UnnamedModel:
        group = self.group
        text = (
            f"{group.first.name}.aria2 lies beside it: it is being downloaded" if is_loading else ""
        )
        text = text or _trouble(group)
        files = [group.files[number] for number in sorted(group.files)]
        size = sum(file.size for file in files) + (projector.file.size if projector else 0)
        model = FoundModel(
            id="",
            aliases=(),
            path=Path(group.first.path),
            files=tuple(Path(file.path) for file in files),
            size=Bytes(size),
            format=ModelFormat.GGUF,
            source=place.source,
            quantization=SPELLED.get(self.tag, self.tag.removeprefix("i1-")),
            problem=text,
        )
        if self.summary is not None:
            model = described(model, self.summary, self.base)
            parts = [each for each in group.summaries.values() if isinstance(each, GgufSummary)]
            model = replace(model, parameters=total(each.parameters for each in parts))
        if projector is not None:
            model = with_projector(model, projector)
        choice = choose(
            place, group.stem, self.base, self.tag, group.first.path,
            alone=alone, is_broken=bool(text),
        )  # fmt: skip
        return UnnamedModel(model, choice, group.first.identity, is_link=group.first.is_link)


def described(model: FoundModel, found: GgufSummary, name: str) -> FoundModel:
    """Return the model with what its header says."""
    return replace(
        model,
        kind=kind(found, name),
        architecture=found.architecture,
        quantization=model.quantization or quantization(found),
        parameters=found.parameters or None,
        context_length=found.context_length,
        tools=found.tools,
        reasoning=found.reasoning,
    )


def with_projector(model: FoundModel, projector: Projector) -> FoundModel:
    return replace(
        model,
        mmproj=Path(projector.file.path),
        vision=projector.sees,
        audio=projector.summary.has_audio_encoder,
    )


def _trouble(group: GgufGroup) -> str:
    """Say why a group of files cannot be served; empty where nothing is known against it."""
    if group.count > 1 and (text := _missing(group)):
        return text
    for number, found in sorted(group.summaries.items()):
        file = group.files[number]
        subject = f"part {number} of {group.count} " if group.count > 1 else ""
        if isinstance(found, BrokenFile):
            return subject + found.text
        if found.data_end > file.size:
            return subject + _cut_off(found, file)
        if found.split_count != group.count:
            return subject + _miscounted(found, group)
    found = group.summary
    return problem(found) if isinstance(found, GgufSummary) else ""


def _missing(group: GgufGroup) -> str:
    if group.count > _MOST_PARTS:
        return f"promises {group.count} parts by its name; at most {_MOST_PARTS} are accepted"
    missing = [number for number in range(1, group.count + 1) if number not in group.files]
    if not missing:
        return ""
    names = ", ".join(
        f"{group.stem}-{number:05}-of-{group.count:05}{_ENDING}" for number in missing[:_NAMED]
    )
    others = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    return f"lacks {len(missing)} of its {group.count} parts: {names}{others}"


def _miscounted(found: GgufSummary, group: GgufGroup) -> str:
    if group.count == 1:
        count = found.split_count
        return (
            f"is one of {count} parts, and its name does not end in -00001-of-{count:05}{_ENDING},"
            " by which llama.cpp finds the others"
        )
    return f"says that it is one of {found.split_count} parts; its name says {group.count}"


def _cut_off(found: GgufSummary, file: FoundFile) -> str:
    return (
        f"is cut off, or still being copied: its tensors end at byte {found.data_end},"
        f" the file has {file.size} bytes"
    )
