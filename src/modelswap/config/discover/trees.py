"""A found model becomes a model's tree, as its author would have written it: a default, then templates."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from modelswap.catalog.found import ModelFormat, ModelKind
from modelswap.config.commands.words import split
from modelswap.config.macros.macros import uses
from modelswap.config.tree.node import Map, MapEntry, Mark, Node, NodeKind, Scalar, Seq, text

from .arguments import context_of, joined, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from modelswap.catalog.found import FoundModel
    from modelswap.config.schema.schema_discover import RawTemplate

    from .presets import Options

PATH_TOKEN: Final = "${MODEL_PATH}"  # noqa: S105 - a placeholder
ARGS_TOKEN: Final = "${MODEL_ARGS}"  # noqa: S105 - the same
_SERVER: Final = "${llama-server} --host 127.0.0.1 --port ${PORT}"
"""With the address: in llama.cpp's container images it is every one, by an environment variable."""
DEFAULT_COMMAND: Final = f"{_SERVER} --model {PATH_TOKEN} {ARGS_TOKEN}"
DOWNLOADING_COMMAND: Final = f"{_SERVER} {ARGS_TOKEN}"
"""For a preset's repository that cannot be pulled: llama-server fetches the model itself."""
_OWN_KEYS: Final = frozenset({"match", "args", "source"})
"""Keys of a template that found models do not take from it."""
_SIZES: Final = (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))
_COUNTS: Final = (("B", 10**9), ("M", 10**6), ("K", 10**3))


@dataclass(frozen=True, slots=True)
class DiscoverTemplate:
    """One of `discover.templates`: its record, and its tree with the places in the file."""

    record: RawTemplate
    tree: Map

    def fits(self, candidate: Candidate) -> bool:
        patterns = self.record.match
        names = candidate.matched_names()
        return not patterns or any(
            fnmatch.fnmatchcase(name, pattern.lower()) for pattern in patterns for name in names
        )


@dataclass(slots=True)
class Candidate:
    """A found model under the names that it is going to have."""

    model: FoundModel
    id: str
    aliases: list[str]
    options: Options
    """Of llama-server: those that the model needs, then those of the presets."""
    keys: dict[str, Node] = field(default_factory=dict[str, Node])
    """Keys of a model that the presets give."""
    is_preloaded: bool = False

    @property
    def is_pulled(self) -> bool:
        """Whether its files come from a repository that a preset names."""
        return "source" in self.keys

    def matched_names(self) -> list[str]:
        """Return what a template's pattern may fit."""
        model = self.model
        names = (
            self.id,
            model.id,
            *self.aliases,
            model.architecture,
            model.kind.value,
            model.format.value,
        )
        return [name.lower() for name in names if name]


def has_command(candidate: Candidate, templates: Sequence[DiscoverTemplate]) -> bool:
    """Tell whether it is known how to start the model: only GGUF has a default."""
    return candidate.model.format is ModelFormat.GGUF or any(
        one.record.cmd.strip() for one in templates if one.fits(candidate)
    )


def tree_of(candidate: Candidate, templates: Sequence[DiscoverTemplate], *, windows: bool) -> Map:
    """Return the model's tree: mappings of templates are merged, lists joined, else the last one wins."""
    mark = Mark(str(candidate.model.path))
    fitting = [one for one in templates if one.fits(candidate)]
    added = [one.record.args for one in fitting]
    words = [word for words in candidate.options.values() for word in words]
    context = context_of((*words, *split(joined(added), windows=windows)))
    tree = _base(candidate, context or candidate.model.context_length, mark)
    tree = _with_templates(tree, fitting)
    command = tree.get("cmd")
    if isinstance(command, Scalar) and not uses(command, ARGS_TOKEN):
        written = joined((str(command.value).rstrip(), *added))
        tree = tree.with_value("cmd", text(written, command.mark))
    macros = {
        "MODEL_PATH": quoted([str(candidate.model.path)], windows=windows),
        "MODEL_ARGS": joined((quoted(words, windows=windows), *added)),
    }
    own = Map(mark, tuple(MapEntry(key, mark, text(value, mark)) for key, value in macros.items()))
    return merged(tree, MapEntry("macros", mark, own))


def tree_to_pull(
    candidate: Candidate, templates: Sequence[DiscoverTemplate], *, windows: bool
) -> Map:
    """Return the tree of a model whose repository a preset names: as if it had been written with a `source`.

    What follows from its files, `${MODEL_ARGS}` among it, is added to those models.
    """
    mark = candidate.keys["source"].mark
    fitting = [one for one in templates if one.fits(candidate)]
    added = [one.record.args for one in fitting]
    # The name is among those arguments.
    options = [words for name, words in candidate.options.items() if name != "alias"]
    given = quoted([word for words in options for word in words], windows=windows)
    keys: dict[str, Node] = {
        "cmd": text(DEFAULT_COMMAND, mark),
        "aliases": _list(candidate.aliases, mark),
        **candidate.keys,
    }
    if context := context_of(split(joined((given, *added)), windows=windows)):
        keys["capabilities"] = Map(mark).with_value("context", _number(context, mark))
    tree = Map(mark, tuple(MapEntry(key, mark, value) for key, value in keys.items()))
    tree = _with_templates(tree, fitting)
    command = tree.get("cmd")
    if isinstance(command, Scalar):
        written = joined((str(command.value).rstrip(), given, *added))
        tree = tree.with_value("cmd", text(written, command.mark))
    return tree


def _with_templates(tree: Map, fitting: Iterable[DiscoverTemplate]) -> Map:
    for template in fitting:
        for entry in template.tree.entries:
            if entry.key not in _OWN_KEYS:
                tree = merged(tree, entry)
    return tree


def merged(tree: Map, entry: MapEntry) -> Map:
    """Return a tree with one more key: mappings are merged, lists are joined, else the new value counts."""
    before, value = tree.get(entry.key), entry.value
    if isinstance(before, Map) and isinstance(value, Map):
        for one in value.entries:
            before = before.with_value(one.key, one.value)
        value = before
    elif isinstance(before, Seq) and isinstance(value, Seq):
        value = Seq(value.mark, (*before.items, *value.items))
    return tree.with_value(entry.key, value)


def _base(candidate: Candidate, context: int | None, mark: Mark) -> Map:
    model = candidate.model
    keys: dict[str, Node] = {
        "cmd": text(DEFAULT_COMMAND, mark),
        "description": text(summary(model), mark),
        "aliases": _list(candidate.aliases, mark),
        "capabilities": _capabilities(model, context, mark),
        "(files)": text(str(model.size), mark),
        "metadata": Map(mark).with_value("found", _facts(model, mark)),
        **candidate.keys,
    }
    return Map(mark, tuple(MapEntry(key, mark, value) for key, value in keys.items()))


def summary(model: FoundModel) -> str:
    """Say in a line what a model is: architecture, parameters, quantization, size."""
    count, size = _rounded(model.parameters or 0, _COUNTS), _rounded(model.size, _SIZES, " ")
    return joined((model.architecture, count, model.quantization, size))


def _rounded(number: int, units: Sequence[tuple[str, int]], blank: str = "") -> str:
    return next((f"{number / size:.3g}{blank}{unit}" for unit, size in units if number >= size), "")


def _capabilities(model: FoundModel, context: int | None, mark: Mark) -> Map:
    is_chat = model.kind is ModelKind.CHAT
    found = Map(mark).with_value("in", _list(_inputs(model), mark))
    if is_chat:
        found = found.with_value("out", _list(["text"], mark))
    if context:
        found = found.with_value("context", _number(context, mark))
    flags = {
        "tools": is_chat and model.tools,
        "reasoning": is_chat and model.reasoning,
        "embedding": model.kind is ModelKind.EMBEDDING,
        "reranker": model.kind is ModelKind.RERANK,
    }
    for name, is_set in flags.items():
        if is_set:
            found = found.with_value(name, Scalar(mark, NodeKind.BOOL, value=True, text="true"))
    return found


def _inputs(model: FoundModel) -> list[str]:
    return ["text", *["image"] * model.vision, *["audio"] * model.audio]


def _facts(model: FoundModel, mark: Mark) -> Map:
    facts: dict[str, str | int | None] = {
        "source": model.source.value,
        "format": model.format.value,
        "architecture": model.architecture,
        "quantization": model.quantization,
        "parameters": model.parameters,
        "size": model.size,
    }
    entries = (
        MapEntry(name, mark, _number(value, mark) if isinstance(value, int) else text(value, mark))
        for name, value in facts.items()
        if value
    )
    return Map(mark, tuple(entries))


def _list(values: Iterable[str], mark: Mark) -> Seq:
    return Seq(mark, tuple(text(value, mark) for value in values))


def _number(value: int, mark: Mark) -> Scalar:
    return Scalar(mark, NodeKind.INT, value, str(value))
