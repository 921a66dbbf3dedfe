"""A model of the file that names a `source` gets what follows from it: its files, and a command.

Guarantees: what is written in the file wins over what follows from the source. While the files are still
to be pulled the model is the same in all but its files: the source stands for their path.
Does not: pull.
"""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Final

from modelswap.catalog.found import FoundModel, ModelFormat, ModelSource
from modelswap.catalog.models.pulled_model import describe
from modelswap.catalog.pull_source import (
    EXPECTED,
    HubSource,
    OllamaSource,
    WrongSourceError,
    parse_source,
)
from modelswap.catalog.pulled import located
from modelswap.config.tree.node import Map, MapEntry, Scalar, text
from modelswap.units import Bytes

from .arguments import known_options, quoted
from .candidates import harmless, unquotable
from .discovery import templates_of
from .trees import Candidate, has_command, merged, tree_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelswap.catalog.pull_source import PullSource
    from modelswap.catalog.pulled import PulledModel
    from modelswap.config.messages.report import Report
    from modelswap.config.tree.node import Mark, Node, Path

    Located = Callable[[str], PulledModel | None]

NAME_KEY: Final = "(pull)"
MISSING_KEY: Final = "(missing)"
"""Keys of a model that no file can have: the source's one spelling, and whether its files are missing."""

_UNKNOWN: Final = HubSource("unknown/unknown")
"""Stands for a source that is a mistake."""


class PulledModels:
    """Completes the trees of models, for one load."""

    def __init__(self, report: Report, *, windows: bool, look: Located = located) -> None:
        self._report = report
        self._windows = windows
        self._look = look

    def __call__(self, top: Map, name: str, model: Map, source: Node) -> Map:
        """Return the tree of a model with what follows from its source."""
        parsed = self._parsed(source, ("models", name, "source"))
        # Of a mistake nothing that follows from it is reported, too: it counts as something unknown.
        found = None if parsed is None else self._found(parsed, source, name)
        known = parsed or _UNKNOWN
        tree = self._tree(found or _still_to_come(name, known), top, model)
        macros = self._macros(found, known, source.mark)
        tree = merged(tree, MapEntry("macros", source.mark, macros))
        for entry in model.entries:
            tree = merged(tree, entry)
        tree = tree.with_value(NAME_KEY, text(known.text, source.mark))
        return tree if found else tree.with_value(MISSING_KEY, text("true", source.mark))

    def _parsed(self, source: Node, path: Path) -> PullSource | None:
        if not isinstance(source, Scalar):
            return None  # the decoder reports it
        try:
            return parse_source(source.text)
        except WrongSourceError as wrong:
            message = f"{EXPECTED}; found {wrong.found!r}: {wrong.reason}"
            self._report.problem(source.mark, path, message)
            return None

    def _found(self, source: PullSource, node: Node, name: str) -> FoundModel | None:
        """Return the model if it is here; what is wrong with it is a warning about this machine.

        Its files come from elsewhere: the author's macros are not for texts in them.
        """
        assert isinstance(node, Scalar)
        problem, found = "", None
        try:
            pulled = self._look(node.text)
            found = None if pulled is None else describe(pulled, name, _store_of(source))
        except OSError as wrong:
            problem = f"its files cannot be looked at: {wrong.strerror}"
        if found is not None and (refused := unquotable(found)):
            problem, found = f"its files cannot be served: {refused}", None
        if found is not None and found.problem:
            problem = f"{found.path} {found.problem}"
        if problem:
            self._report.warn(node.mark, ("models", name, "source"), problem, of_machine=True)
        return None if found is None else harmless(found)

    def _tree(self, found: FoundModel, top: Map, written: Map) -> Map:
        """Return what a found model would get; one with a command of its own takes no other, and no template."""
        options = known_options(found)
        if "," not in found.id:  # llama-server takes it for several names
            options = {"alias": ("--alias", found.id), **options}
        own = written.get("cmd")
        has_own = isinstance(own, Scalar) and bool(own.text.strip())
        templates = () if has_own else templates_of(top)
        candidate = Candidate(found, found.id, [], options)
        tree = tree_of(candidate, templates, windows=self._windows)
        if has_own or not has_command(candidate, templates):
            tree = tree.without("cmd")
        return tree

    def _macros(self, found: FoundModel | None, source: PullSource, mark: Mark) -> Map:
        """Return what stands for the files: for those to come the source, and no projector."""
        mmproj = None if found is None else found.mmproj
        words = {"MODEL_MMPROJ": [] if mmproj is None else [str(mmproj)]}
        if found is None:
            words["MODEL_PATH"] = [source.text]
        return Map(
            mark,
            tuple(
                MapEntry(name, mark, text(quoted(some, windows=self._windows), mark))
                for name, some in words.items()
            ),
        )


def _store_of(source: PullSource) -> ModelSource:
    if isinstance(source, OllamaSource):
        return ModelSource.OLLAMA
    return ModelSource.HUGGING_FACE if isinstance(source, HubSource) else ModelSource.FOLDER


def _still_to_come(name: str, source: PullSource) -> FoundModel:
    """Return what is known of a model before its files are here."""
    return FoundModel(
        id=name,
        aliases=(),
        path=FilePath(source.text),
        files=(),
        size=Bytes(0),
        format=ModelFormat.GGUF,
        source=_store_of(source),
        quantization=source.quantization.lower() if isinstance(source, HubSource) else "",
    )
