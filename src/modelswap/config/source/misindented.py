"""Models that stand where no model belongs are taken out: below `groups:`, at the top level, below a peer.

Guarantees: one wrong indentation is one message, with the models' names. What follows from it (an
unknown key for each `cmd`, a group's member that is no model) is not reported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from modelswap.config.messages.found_value import describe_node
from modelswap.config.schema.field_types import keys_of
from modelswap.config.schema.schema import RawModel
from modelswap.config.tree.node import Map, Scalar, Seq, is_null

if TYPE_CHECKING:
    from collections.abc import Collection

    from modelswap.config.messages.report import Report
    from modelswap.config.tree.node import MapEntry, Path

_OWN: Final[dict[Path, frozenset[str]]] = {
    ("groups",): frozenset({"members"}),
    ("routing", "router", "settings", "groups"): frozenset({"members"}),
    ("profiles",): frozenset({"pins"}),
    ("selectors",): frozenset({"targets", "strategy"}),
    ("peers",): frozenset({"models"}),
    ("macros",): frozenset(),
    ("hooks",): frozenset(),
    ("routing",): frozenset(),
    ("models",): frozenset(),
}
"""Sections that are searched, with keys by which an entry is no model."""
_TELLING: Final = frozenset({"checkEndpoint", "cmdStop", "useModelName", "aliases", "ttl", "proxy"})
_MOST_NAMES: Final = 5
"""Models named in one message."""
_OLD_SECTIONS: Final = ("groups", "matrix")
"""Sections that llama-swap also accepts at the top level."""
_HINT: Final = "models stand below `models:`, which stands at the beginning of its line"


def without_misindented(root: Map, top_keys: Collection[str], report: Report) -> Map:
    """Take misindented models out of the tree, with one message for each section."""
    models = root.get("models")
    if isinstance(models, Map):
        root = root.with_value("models", _without_sections(models, top_keys, report))
    for path, own in _OWN.items():
        root = _cleaned(root, path, own, report)
    return _top(root, top_keys, report)


def _cleaned(root: Map, path: Path, own: frozenset[str], report: Report) -> Map:
    section = root
    above: list[Map] = []
    for part in path:
        below = section.get(str(part))
        if not isinstance(below, Map):
            return root
        above.append(section)
        section = below
    takes_models = path == ("models",)
    wrong = [
        entry
        for entry in section.entries
        if (not takes_models and _is_model(entry, own)) or _holds_models(entry)
    ]
    if not wrong:
        return root
    _report(wrong, path, report)
    cleaned = section.without(*(entry.key for entry in wrong))
    for parent, part in zip(reversed(above), reversed(path), strict=True):
        cleaned = parent.with_value(str(part), cleaned)
    return cleaned


def _without_sections(models: Map, top_keys: Collection[str], report: Report) -> Map:
    """Take out `groups:`, `logLevel:` and the like that are one level too deep."""
    sections = {*top_keys, *_OLD_SECTIONS} - {"models"}
    wrong = [entry for entry in models.entries if entry.key in sections and _is_section(entry)]
    for entry in wrong:
        path, hint = ("models", entry.key), f"{entry.key}: stands at the beginning of its line"
        if isinstance(entry.value, Map):
            message = f"expected models; found the keys of {entry.key}, left out"
            report.warn(entry.mark, path, message, hint)
        else:
            what = "expected a mapping of the model's keys"
            seen = describe_node(entry.value, (entry.key,))
            report.problem(entry.mark, path, what, hint, seen=seen)
    return models.without(*(entry.key for entry in wrong))


def _is_section(entry: MapEntry) -> bool:
    value = entry.value
    if isinstance(value, Map):
        names = {one.key for one in value.entries}
        return bool(names) and not names & keys_of(RawModel).keys()
    return not is_null(value)


def _top(root: Map, top_keys: Collection[str], report: Report) -> Map:
    known = {*top_keys, *_OLD_SECTIONS}
    wrong = [
        entry
        for entry in root.entries
        if entry.key not in known and entry.key[:1] not in "_." and not entry.key.startswith("x-")
        if _is_model(entry, frozenset())
    ]
    if wrong:
        _report(wrong, (), report)
    return root.without(*(entry.key for entry in wrong))


def _is_model(entry: MapEntry, own: frozenset[str]) -> bool:
    value = entry.value
    if not isinstance(value, Map):
        return False
    names = {one.key for one in value.entries}
    if names & own:
        return False
    command = value.get("cmd")
    if isinstance(command, Scalar | Seq) and not is_null(command):
        return True
    return len(names & _TELLING) > 1 and names <= keys_of(RawModel).keys()


def _holds_models(entry: MapEntry) -> bool:
    """Tell whether this is `models:` itself, one level too deep."""
    value = entry.value
    if entry.key != "models" or not isinstance(value, Map) or value.get("cmd") is not None:
        return False
    return any(_is_model(one, frozenset()) for one in value.entries)


def _report(wrong: list[MapEntry], path: Path, report: Report) -> None:
    names = [name for entry in wrong for name in _names(entry)]
    report.misindented.update(names)
    shown = ", ".join(map(repr, names[:_MOST_NAMES]))
    more = len(names) - _MOST_NAMES
    shown += f" and {more} more" if more > 0 else ""
    first = wrong[0]
    where = (*path, first.key)
    if not path:
        message = f"expected models below `models:`; found {shown} at the top level, left out"
        report.warn(first.mark, where, message, _HINT)
        return
    what = f"expected {path[-1]}; found {'a model' if len(names) == 1 else 'models'}: {shown}"
    if path[-1] in {"groups", "models"}:
        report.warn(first.mark, where, f"{what}, left out", _HINT)
    else:
        report.problem(first.mark, where, what, _HINT)


def _names(entry: MapEntry) -> list[str]:
    if not _holds_models(entry):
        return [entry.key]
    assert isinstance(entry.value, Map)
    return [one.key for one in entry.value.entries]
