"""Found models are added to the models of a configuration.

Guarantees: what is written in the file stays as it is; a found model of the same name or file is left out,
with the reason. A file that cannot be served is listed and harms nothing. A mistake in a template is
reported once, at its place, however many models it fits.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelswap.catalog.pulls.places import Places as UsualPlaces
from modelswap.config.compile.decode import decode
from modelswap.config.messages.report import Report
from modelswap.config.plan import Discovered, FoundEntry
from modelswap.config.schema.schema_discover import RawDiscover, RawTemplate
from modelswap.config.schema.schema_root import RawConfig
from modelswap.config.tree.node import NOWHERE, Map, MapEntry, Mark, Seq, is_null, locate

from .candidates import candidates, settle_names
from .disk.finder import Finder
from .disk.places import Findings, Places
from .presets import read_presets
from .trees import DiscoverTemplate, has_command, tree_of, tree_to_pull
from .written import Written

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelswap.config.macros.expansion import Template

    from .disk.places import Discovery
    from .trees import Candidate

_NO_COMMAND: Final = (
    "safetensors need a template with a `cmd`, such as one for vLLM or SGLang (discover.templates)"
)
_KEY: Final = "discover"


class FoundModels:
    """Adds them, once, between the written models and the plan."""

    def __init__(self, asked: Discovery, report: Report, *, windows: bool) -> None:
        self._asked = asked
        self._report = report
        self._windows = windows
        self._templates: Sequence[DiscoverTemplate] = ()
        self.scratch = Report()
        """What is reported of found models; `promote` passes on what a file's author can mend."""
        self.discovered: Discovered | None = None
        self.preload: tuple[str, ...] = ()
        self.served: frozenset[str] = frozenset()
        """Ids of the models that are added."""

    def __call__(self, top: Map, written: Sequence[Template]) -> Map:
        """Return the models to add, by id. `top`: the file without models, its macros expanded."""
        raw = _raw(top)
        own = [_absolute(path) for path in raw.paths if path.strip()]
        folders = dict.fromkeys((*own, *(path.absolute() for path in self._asked.folders)))
        self._check_folders(own, locate(top, (_KEY, "paths")))
        places = Places(tuple(folders), raw.stores, self._asked.usual)
        find = self._asked.find or Finder().find
        found = Findings() if places == Places() else find(places)
        for problem in found.problems:
            self._report.warn(NOWHERE, (_KEY,), problem, of_machine=True)
        files = (*map(_absolute, raw.presets), *(path.absolute() for path in self._asked.presets))
        presets = read_presets(files, self._report)
        chosen, broken = candidates(found.models, presets, self._report)
        chosen, refused = settle_names(chosen, Written(top, written, windows=self._windows))
        templates = self._templates = templates_of(top)
        self._check_templates(templates)
        served = [one for one in chosen if has_command(one, templates)]
        self.served = frozenset(one.id for one in served)
        entries = [
            FoundEntry(one.model, one.id, "" if one.id in self.served else _NO_COMMAND)
            for one in chosen
        ]
        self.preload = tuple(one.id for one in served if one.is_preloaded)
        self.discovered = Discovered(
            folders=tuple(map(str, places.folders)),
            models=tuple(sorted([*entries, *broken, *refused], key=_by_name)),
            presets=tuple(map(str, files)),
            sees_hub=_sees_hub(places),
        )
        return _models(served, templates, windows=self._windows)

    def has_presets(self, root: Map) -> bool:
        """Tell whether presets are read for a file: its models or theirs may be pulled."""
        node = root.get(_KEY)
        return bool(self._asked.presets) or (
            isinstance(node, Map) and not is_null(node.get("presets"))
        )

    def _check_folders(self, own: Sequence[Path], mark: Mark) -> None:
        """Report folders that are not there: a typing error in a command, maybe a mount in a file."""
        for folder in self._asked.folders:
            if not folder.is_dir():
                message = f"expected a folder; found none: {folder}"
                self._report.problem(NOWHERE, ("--models-dir",), message)
        for folder in own:
            if not folder.is_dir():
                message = f"expected a folder on this machine; found none: {folder}"
                self._report.warn(mark, (_KEY, "paths"), message, of_machine=True)

    def _check_templates(self, templates: Sequence[DiscoverTemplate]) -> None:
        for index, one in enumerate(templates):
            node = one.tree.get("source")
            if node is not None:
                message = "has no effect: a found model has its file, and nothing is pulled for it"
                path = (_KEY, "templates", index, "source")
                self._report.warn(node.mark, path, message, "models.<id>.source pulls a model")

    def promote(self) -> None:
        """Pass on, once, what is reported of a template's own text."""
        places = [one.tree.mark for one in self._templates]
        for found, given in (
            (self.scratch.problems, self._report.problems),
            (self.scratch.warnings, self._report.warnings),
        ):
            known = {(one.mark, one.message) for one in given}
            for one in found:
                index = _index(places, one.mark)
                if index is not None and (one.mark, one.message) not in known:
                    known.add((one.mark, one.message))
                    given.append(replace(one, path=(_KEY, "templates", index, *one.path[2:])))


def _sees_hub(places: Places) -> bool:
    """Tell whether Hugging Face's cache is looked at, as a store or in a folder."""
    hub = UsualPlaces.usual().hub.absolute()
    is_store = places.usual or "huggingface" in places.stores
    return is_store or any(hub.is_relative_to(folder) for folder in places.folders)


def _index(places: Sequence[Mark], mark: Mark) -> int | None:
    """Return which of the templates holds a place; none for what is said of a file that was found."""
    before = [
        index
        for index, one in enumerate(places)
        if one.file == mark.file and (one.line, one.column) <= (mark.line, mark.column)
    ]
    return before[-1] if before else None


def _raw(top: Map) -> RawDiscover:
    """Return the keys of `discover`; mistakes in them are reported with the rest of the file."""
    node = top.get(_KEY)
    if node is None:
        return RawDiscover()
    alone = Map(top.mark, (MapEntry(_KEY, node.mark, node),))
    return decode(alone, RawConfig, (), Report()).discover or RawDiscover()


def templates_of(top: Map) -> list[DiscoverTemplate]:
    """Return `discover.templates` of a file whose macros are expanded."""
    node = top.get(_KEY)
    trees = node.get("templates") if isinstance(node, Map) else None
    return [
        DiscoverTemplate(decode(tree, RawTemplate, (_KEY, "templates"), Report()), tree)
        for tree in (trees.items if isinstance(trees, Seq) else ())
        if isinstance(tree, Map)
    ]


def _models(
    served: Sequence[Candidate], templates: Sequence[DiscoverTemplate], *, windows: bool
) -> Map:
    trees = [
        (one.id, (tree_to_pull if one.is_pulled else tree_of)(one, templates, windows=windows))
        for one in served
    ]
    return Map(NOWHERE, tuple(MapEntry(id_, tree.mark, tree) for id_, tree in trees))


def _absolute(path: str) -> Path:
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError:  # no such user
        return Path(path).absolute()


def _by_name(entry: FoundEntry) -> tuple[str, str]:
    return entry.id, str(entry.model.path)
