"""The macros at work on a whole file: scopes, ports in order, what is left over.

Law: models are taken by id in byte order, and each that needs a port gets the
next one. A model is kept with `${PORT}` still in it, so that it can be had for
another port later. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .command import strip_comments
from .decode import Report, whole
from .found import found
from .hints import of_macro
from .kinds import keys_of
from .macros import (
    MODEL_ID,
    PID,
    PID_TOKEN,
    PORT,
    PORT_TOKEN,
    Scope,
    declared,
    expand,
    expand_id_keys,
    leftovers,
    macro,
    overlay,
    uses,
)
from .node import Entry, Kind, Map, Mark, Node, Path, Scalar, is_null, text
from .schema import RawModel

if TYPE_CHECKING:
    from collections.abc import Callable

DEFAULT_PROXY: Final = f"http://localhost:{PORT_TOKEN}"
DEFAULT_START_PORT: Final = 5800
_GIVES_PORT: Final = ("cmd", "proxy", "cmdStop", "env")
_LITERAL_MODEL_KEYS: Final = frozenset({"env", "aliases", "useModelName"})
_LITERAL_PLACES: Final[tuple[Path, ...]] = (
    ("routing", "router", "settings", "groups"),
    ("(list profiles)",),
    ("profiles",),
    ("logLevel",),
)


@dataclass(frozen=True, slots=True)
class Template:
    """A model's tree with everything in place but `${PORT}`."""

    id: str
    mark: Mark
    tree: Map
    port: int | None
    is_blank: bool = False
    """Nothing stood behind its id."""


@dataclass(frozen=True, slots=True)
class Expanded:
    root: Map
    """Without `models` and `macros`."""
    templates: tuple[Template, ...]


def expand_file(
    root: Map, top_keys: frozenset[str], built_in: Callable[[], str], report: Report
) -> Expanded:
    """Put every macro in place. `built_in` gives the command behind `${llama-server}`."""
    global_scope = declared(root.get("macros"), ("macros",), report)
    if uses(root, "${llama-server}"):
        own = macro("llama-server", Kind.TEXT, built_in())
        global_scope = overlay((own,), global_scope)
    rest = root.without("models", "macros")
    entries = tuple(Entry(e.key, e.mark, expand(e.value, global_scope)) for e in rest.entries)
    top = Map(root.mark, entries)
    for entry in entries:
        if entry.key in top_keys:
            _check_top(entry, global_scope, report)
    templates = _templates(root.get("models"), global_scope, _start_port(top), report)
    return Expanded(top, templates)


def _start_port(top: Map) -> int:
    node = top.get("startPort")
    number = None if node is None else whole(node)
    return number if number is not None and number > 0 else DEFAULT_START_PORT


def _check_top(entry: Entry, scope: Scope, report: Report) -> None:
    for path, scalar, name in leftovers(entry.value, (entry.key,)):
        literal = any(path[: len(place)] == place for place in _LITERAL_PLACES)
        _left_over(path, scalar.mark, name, scope, report, literal=literal)


def _left_over(
    path: Path, mark: Mark, name: str, scope: Scope, report: Report, *, literal: bool
) -> None:
    if literal:
        message = f"expected a macro; found none of the name {name!r}"
        then = f"${{{name}}} stays as it is"
        report.warn(mark, path, message, of_macro(name, [one.name for one in scope]), then=then)
        return
    names = [one.name for one in scope]
    if name in names:
        hint = "a macro may only use those declared before it, and no value exceeds 1 MiB"
    elif name in {MODEL_ID, PORT, PID}:
        hint = f"{name} has no meaning here"
    else:
        hint = of_macro(name, names)
    report.problem(mark, path, f"expected a macro; found an unknown macro {name!r}", hint)


def _templates(
    node: Node | None, scope: Scope, start_port: int, report: Report
) -> tuple[Template, ...]:
    if node is None or is_null(node):
        return ()
    if not isinstance(node, Map):
        report.expected("a mapping of ids to models", node, ("models",))
        return ()
    port = start_port
    templates: list[Template] = []
    for entry in sorted(node.entries, key=lambda e: e.key.encode("utf-8", "surrogatepass")):
        template = _template(entry, scope, port, report)
        if template is not None:
            templates.append(template)
            port += template.port is not None
    return tuple(templates)


def _template(entry: Entry, scope: Scope, port: int, report: Report) -> Template | None:
    path: Path = ("models", entry.key)
    if is_null(entry.value):
        report.warn(entry.mark, path, "an empty model cannot be started", "give it a cmd")
        blank = Map(entry.mark).with_value("proxy", text("", entry.mark))
        return Template(entry.key, entry.mark, blank, None, is_blank=True)
    if not isinstance(entry.value, Map):
        seen = found(entry.value, path)
        report.problem(entry.mark, path, "expected a mapping of the model's keys", seen=seen)
        return None
    model = _prepared(entry.value)
    own = declared(model.get("macros"), (*path, "macros"), report)
    # MODEL_ID comes first, so that every other macro may use it.
    full = overlay(overlay((macro(MODEL_ID, Kind.TEXT, entry.key),), scope), own)
    expanded = expand(model.without("macros"), full)
    assert isinstance(expanded, Map)

    def on_clash(name: str, mark: Mark) -> None:
        place = (*path, "filters", "setParamsByID", name)
        report.problem(mark, place, "two names become the same one")

    expanded = expand_id_keys(expanded, full, on_clash)
    needs_port = _needs_port(expanded, path, report)
    _check_model(expanded, path, full, report, has_port=needs_port)
    return Template(entry.key, entry.mark, expanded, port if needs_port else None)


def _prepared(model: Map) -> Map:
    """Comments out of the commands, and the default address in."""
    for key in ("cmd", "cmdStop"):
        node = model.get(key)
        if isinstance(node, Scalar) and node.kind is Kind.TEXT and "#" in node.text:
            model = model.with_value(key, text(strip_comments(str(node.value)), node.mark))
    if is_null(model.get("proxy")):
        model = model.with_value("proxy", text(DEFAULT_PROXY, model.mark))
    return model


def _needs_port(model: Map, path: Path, report: Report) -> bool:
    user = next((key for key in _GIVES_PORT if uses(model.get(key), PORT_TOKEN)), None)
    if user is not None and user != "cmd":
        node = model.get(user)
        mark = model.mark if node is None else node.mark
        message = "${PORT} is used, but not by cmd: the server must find its port by itself"
        report.warn(mark, (*path, user), message, "write ${PORT} into cmd, or a port into proxy")
    return user is not None


def _check_model(model: Map, path: Path, scope: Scope, report: Report, *, has_port: bool) -> None:
    checked = keys_of(RawModel).keys() - _LITERAL_MODEL_KEYS
    for entry in model.entries:
        for place, scalar, name in leftovers(entry.value, (*path, entry.key)):
            allowed = (name == PORT and has_port) or (name == PID and entry.key == "cmdStop")
            if not allowed:
                literal = entry.key not in checked
                _left_over(place, scalar.mark, name, scope, report, literal=literal)
    for name, mark in _id_keys(model):
        if any(token != PORT_TOKEN or not has_port for token in _tokens(name)):
            place = (*path, "filters", "setParamsByID", name)
            report.problem(mark, place, "unknown macro in the name")


def _id_keys(model: Map) -> list[tuple[str, Mark]]:
    filters = model.get("filters")
    by_id = filters.get("setParamsByID") if isinstance(filters, Map) else None
    return [(e.key, e.mark) for e in by_id.entries] if isinstance(by_id, Map) else []


def _tokens(name: str) -> list[str]:
    return [f"${{{token}}}" for _, _, token in leftovers(text(name), ())]


__all__ = ["PID_TOKEN", "Expanded", "Template", "expand_file"]
