"""Found models meet presets and the names of the configuration: which are served, and under which names."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelswap.catalog.found import FoundModel, ModelFormat, ModelKind, ModelSource
from modelswap.catalog.pull_source import canonical
from modelswap.config.plan import FoundEntry
from modelswap.config.tree.node import NodeKind, Scalar, text
from modelswap.units import Bytes

from .arguments import MOST_DIGITS, known_options
from .presets import is_no
from .trees import DOWNLOADING_COMMAND, Candidate

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from modelswap.config.messages.report import Report

    from .presets import Options, Presets, Section
    from .written import Written

_UNUSABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]|[$][{]")
"""In text that comes from a file: control characters and line breaks, which a command's text cannot hold as
they are; bytes that are not UTF-8; and macros, which are for the configuration's author alone."""


def candidates(
    found: Sequence[FoundModel], presets: Presets, report: Report
) -> tuple[list[Candidate], list[FoundEntry]]:
    """Join the models with the presets' sections; return those that are left out with the reason."""
    found = [harmless(model) for model in found]
    chosen, sections, replaced = _of_sections(found, presets, report)
    out: list[FoundEntry] = []
    for model in found:
        why = "a preset serves this file" if model.path in replaced else ""
        why = why or model.problem or unquotable(model)
        if why:
            out.append(FoundEntry(model, model.id, why))
            continue
        section = sections.get(model.id)
        candidate = _candidate(model, model.id, presets.of(section))
        if section is not None and section.name not in (model.id, *model.aliases):
            candidate.aliases.insert(0, section.name)
        chosen.append(candidate)
    return chosen, out


def _of_sections(
    found: Sequence[FoundModel], presets: Presets, report: Report
) -> tuple[list[Candidate], dict[str, Section], set[Path]]:
    """Return models that sections name by a path, sections by the found model's id, and those paths."""
    by_name = _by_section_name(found)
    chosen: list[Candidate] = []
    sections: dict[str, Section] = {}
    replaced: set[Path] = set()
    for section in presets.sections.values():
        own, named = presets.of(section), by_name.get(section.name)
        path = own.value("model")
        if path:
            known = _at(path, found)
            if known is not None and (why := unquotable(known)):
                report.warn(section.mark, (section.name,), why, then="left out")
                continue
            replaced.add(Path(path) if known is None else known.path)
            chosen.append(_candidate(_named(section.name, path, known), section.name, own))
        elif named is not None:
            sections[named.id] = section
        elif own.value("hf-repo"):
            chosen.append(_candidate(_named(section.name, "", None), section.name, own))
        else:
            message = "expected the name of a model that was found, `model` or `hf-repo`"
            report.warn(section.mark, (section.name,), message, then="left out")
    return chosen, sections, replaced


def _by_section_name(found: Sequence[FoundModel]) -> dict[str, FoundModel]:
    """Map names that a section may use: ids, aliases, then those of llama.cpp's router."""
    by_name = {model.id: model for model in found}
    for model in found:
        for alias in model.aliases:
            by_name.setdefault(alias, model)
    for model in found:
        by_name.setdefault(model.path.stem, model)
        by_name.setdefault(model.path.parent.name, model)
    return by_name


def _at(path: str, found: Iterable[FoundModel]) -> FoundModel | None:
    here = Path(path).absolute()
    return next((model for model in found if here in model.files or here == model.path), None)


def _named(name: str, path: str, known: FoundModel | None) -> FoundModel:
    if known is not None:
        return replace(known, id=name, aliases=(), source=ModelSource.PRESET)
    return FoundModel(
        id=name,
        aliases=(),
        path=Path(path),
        files=(),
        size=Bytes(0),
        format=ModelFormat.GGUF,
        source=ModelSource.PRESET,
    )


def _candidate(model: FoundModel, name: str, own: Section) -> Candidate:
    options = known_options(model) | own.options
    for given in ("model", "hf-repo") if model.path.name else ("model",):
        options.pop(given, None)  # the path is given already
    aliases = [*model.aliases, *_split(options.pop("alias", ("",))[-1])]
    if "," not in name:  # llama-server takes it for several names
        options = {"alias": ("--alias", name), **options}
    candidate = Candidate(_as_started(model, options), name, aliases, options)
    if not model.path.name:
        key, value = _fetched(options)
        candidate.keys[key] = text(value, own.mark)
    stop = own.preset.get("stop-timeout", "")
    if stop.isdecimal() and len(stop) <= MOST_DIGITS:
        candidate.keys["unloadTimeout"] = Scalar(own.mark, NodeKind.INT, int(stop), stop)
    start = own.preset.get("load-on-startup")
    candidate.is_preloaded = start is not None and not is_no(start)
    return candidate


def _fetched(options: Options) -> tuple[str, str]:
    """Return the key that has a preset's repository fetched: its source, which its options lose then.

    What is no source of ours, or has a token of its own, llama-server fetches itself.
    """
    words = [options.get(name, ("",))[-1] for name in ("hf-repo", "hf-file")]
    try:
        source = canonical("hf:" + "/".join(filter(None, words)))
    except ValueError:
        return "cmd", DOWNLOADING_COMMAND
    if "hf-token" in options:
        return "cmd", DOWNLOADING_COMMAND
    for name in ("hf-repo", "hf-file"):
        options.pop(name, None)
    return "source", source


def _split(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


def _as_started(model: FoundModel, options: Options) -> FoundModel:
    """Return the model as a preset's options make it."""
    if "reranking" in options:
        model = replace(model, kind=ModelKind.RERANK)
    elif "embedding" in options:
        model = replace(model, kind=ModelKind.EMBEDDING)
    return model


def harmless(model: FoundModel) -> FoundModel:
    """Return the model without texts of its files that macros would be expanded in.

    Its options are numbers, and its paths have to stay as they are: `unquotable` looks at those.
    """
    return replace(
        model,
        aliases=tuple(name for name in model.aliases if not _UNUSABLE.search(name)),
        architecture="" if _UNUSABLE.search(model.architecture) else model.architecture,
        quantization="" if _UNUSABLE.search(model.quantization) else model.quantization,
    )


def unquotable(model: FoundModel) -> str:
    """Say why no command can be given a model's files; empty where it can."""
    names = (model.id, *map(str, (model.path, model.mmproj or "", *model.adapters)))
    if any(_UNUSABLE.search(name) for name in names):
        return "its name holds a control character, `${` or bytes that are not UTF-8"
    return ""


def settle_names(
    chosen: Sequence[Candidate], written: Written
) -> tuple[list[Candidate], list[FoundEntry]]:
    """Keep the models that the configuration does not have itself, and the aliases that are free."""
    kept: dict[str, Candidate] = {}
    out: list[FoundEntry] = []
    for one in chosen:
        user = written.user_of((one.model.path, *one.model.files))
        why = written.names.get(one.id, "")
        if user is not None:
            why = f"the configuration serves this file as {user!r}"
        elif one.id in kept:
            why = f"another model has this name: {kept[one.id].model.path}"
        if why:
            out.append(FoundEntry(one.model, one.id, why))
        else:
            kept[one.id] = one
    taken = {*written.names, *kept}
    for one in kept.values():
        one.aliases = [name for name in dict.fromkeys(one.aliases) if name not in taken]
        taken.update(one.aliases)
    return [*kept.values()], out
