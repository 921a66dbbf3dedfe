"""Macros are expanded in a whole file, and ports are given to the models. Pure.

Guarantees: models are taken by id in byte order, and each that needs a port gets the next one. A model
keeps `${PORT}` unexpanded, so that it can be rendered for another port later.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from modelswap.config.commands.words import strip_comments
from modelswap.config.messages.found_value import FoundValue, describe_node
from modelswap.config.messages.hints import normalised, of_macro
from modelswap.config.messages.report import Report
from modelswap.config.schema.field_types import keys_of
from modelswap.config.schema.schema import RawModel
from modelswap.config.schema.schema_root import FIRST_PORT
from modelswap.config.tree.node import (
    Map,
    MapEntry,
    Mark,
    Node,
    NodeKind,
    Path,
    Scalar,
    is_null,
    locate,
    text,
    walk,
)
from modelswap.config.tree.values import whole_number
from modelswap.deferred import dataclass

from .foreign_syntax import foreign_environment, foreign_placeholders
from .macros import (
    MODEL_ID,
    MOST_EXPANDED,
    PID,
    PORT,
    PORT_TOKEN,
    Budget,
    Scope,
    circle,
    declared,
    expand,
    expand_id_keys,
    id_keys,
    in_order,
    leftovers,
    macro,
    overlay,
    uses,
)

DEFAULT_PROXY: Final = f"http://localhost:{PORT_TOKEN}"
_SHORTEST_FOREIGN: Final = 3
"""Letters of a macro's name: a shorter `{a}` is often no macro."""
_GIVES_PORT: Final = ("cmd", "proxy", "cmdStop", "env")
_LITERAL_MODEL_KEYS: Final = frozenset({"env", "aliases", "useModelName"})
_LITERAL_PLACES: Final[tuple[Path, ...]] = (
    ("routing", "router", "settings", "groups"),
    ("(list profiles)",),
    ("profiles",),
    ("logLevel",),
)
_OF_FOUND_MODELS: Final[Path] = ("discover", "templates")


@dataclass(frozen=True, slots=True)
class Template:
    """A model's tree in which everything but `${PORT}` is expanded."""

    id: str
    mark: Mark
    tree: Map
    port: int | None
    is_blank: bool = False
    """The file has no value for its id."""


@dataclass(frozen=True, slots=True)
class Expanded:
    root: Map
    """Without `models` and `macros`."""
    templates: tuple[Template, ...]


@dataclass(frozen=True, slots=True)
class MoreModels:
    """Models that are not in the file: they come after its own, and take the ports after theirs."""

    add: Callable[[Map, tuple[Template, ...]], Map]
    """Makes them of the file without its models, and of its models."""
    report: Report
    """Of mistakes in them."""


Complete = Callable[[Map, str, Map, Node], Map]
"""Makes of the file without its models, a model's id and tree, and the value of its `source`, the whole tree."""


def expand_file(
    root: Map,
    top_keys: frozenset[str],
    built_in: Callable[[], str],
    report: Report,
    more: MoreModels | None = None,
    *,
    complete: Complete | None = None,
) -> Expanded:
    """Expand every macro. `built_in` returns the command behind `${llama-server}`.

    `complete` makes the tree of a model that is pulled; None: there is none.
    """
    global_scope = declared(root.get("macros"), ("macros",), report)
    if more is not None or complete is not None or uses(root, "${llama-server}"):
        own = macro("llama-server", NodeKind.TEXT, built_in())
        global_scope = overlay((own,), global_scope)
    ordered = in_order(global_scope)
    budget = Budget()
    rest = root.without("models", "macros")
    entries = tuple(MapEntry(e.key, e.mark, expand(e.value, ordered, budget)) for e in rest.entries)
    top = Map(root.mark, entries)
    if budget.is_spent():
        return _too_much(root, report)
    for entry in entries:
        if entry.key in top_keys:
            _check_top(entry, global_scope, report)
            _check_environment(entry.value, (entry.key,), report)
    first = _start_port(top)
    filled = None if complete is None else partial(complete, top)
    templates = _templates(root.get("models"), first, _Run(global_scope, budget, report, filled))
    if more is not None and not budget.is_spent():
        first += sum(template.port is not None for template in templates)
        added = more.add(top, templates)
        templates += _templates(added, first, _Run(global_scope, budget, more.report, filled))
    return _too_much(root, report) if budget.is_spent() else Expanded(top, templates)


def _too_much(root: Map, report: Report) -> Expanded:
    most = f"{MOST_EXPANDED >> 20} MiB"
    message = f"expected macros that become at most {most} of text; found more"
    report.problem(locate(root, ("macros",)), ("macros",), message)
    return Expanded(Map(root.mark), ())


def _start_port(top: Map) -> int:
    node = top.get("startPort")
    number = None if node is None else whole_number(node)
    return number if number is not None and number > 0 else FIRST_PORT


def _check_top(entry: MapEntry, scope: Scope, report: Report) -> None:
    for path, scalar, name in leftovers(entry.value, (entry.key,)):
        if path[: len(_OF_FOUND_MODELS)] == _OF_FOUND_MODELS:
            continue  # looked at in each model that the template fits
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
    way = circle(name, scope) if name in names else ()
    if way:
        report.problem(mark, path, f"expected macros without a circle; found {' -> '.join(way)}")
        return
    if name in names:
        report.problem(mark, path, "expected a value of at most 1 MiB with its macros; found more")
        return
    is_built_in = name in {MODEL_ID, PORT, PID}
    hint = f"{name} has no meaning here" if is_built_in else of_macro(name, names)
    report.problem(mark, path, f"expected a macro; found an unknown macro {name!r}", hint)


@dataclass(frozen=True, slots=True)
class _Run:
    """What the expansion of every model needs."""

    scope: Scope
    budget: Budget
    report: Report
    complete: Callable[[str, Map, Node], Map] | None = None


def _templates(node: Node | None, start_port: int, run: _Run) -> tuple[Template, ...]:
    if node is None or is_null(node):
        return ()
    if not isinstance(node, Map):
        run.report.expected("a mapping of ids to models", node, ("models",))
        return ()
    port = start_port
    templates: list[Template] = []
    for entry in sorted(node.entries, key=lambda e: e.key.encode("utf-8", "surrogatepass")):
        template = _template(entry, port, run)
        if template is not None:
            templates.append(template)
            port += template.port is not None
    return tuple(templates)


def _template(entry: MapEntry, port: int, run: _Run) -> Template | None:
    path: Path = ("models", entry.key)
    report = run.report
    if is_null(entry.value):
        report.warn(entry.mark, path, "an empty model cannot be started", "give it a cmd")
        blank = Map(entry.mark).with_value("proxy", text("", entry.mark))
        return Template(entry.key, entry.mark, blank, None, is_blank=True)
    if not isinstance(entry.value, Map):
        seen = describe_node(entry.value, path)
        report.problem(entry.mark, path, "expected a mapping of the model's keys", seen=seen)
        return None
    # MODEL_ID comes first, so that every other macro may use it.
    outer = overlay((macro(MODEL_ID, NodeKind.TEXT, entry.key),), run.scope)
    model = _prepared(_completed(entry.key, entry.value, outer, run))
    own = declared(model.get("macros"), (*path, "macros"), report)
    full = in_order(overlay(outer, own))
    expanded = expand(model.without("macros"), full, run.budget)
    if run.budget.is_spent():
        return None
    assert isinstance(expanded, Map)
    clashes: list[MapEntry] = []
    expanded = expand_id_keys(expanded, full, clashes)
    for one in clashes:
        message = "expected names of their own; found that two names become the same one"
        report.problem(one.mark, (*path, "filters", "setParamsByID", one.key), message)
    needs_port = _needs_port(expanded, path, report)
    _check_model(expanded, path, full, report, has_port=needs_port)
    return Template(entry.key, entry.mark, expanded, port if needs_port else None)


def _completed(name: str, model: Map, outer: Scope, run: _Run) -> Map:
    """Add to a model what follows from its source, whose own macros are expanded before."""
    source = model.get("source")
    if run.complete is None or source is None or is_null(source):
        return model
    own = declared(model.get("macros"), (), Report())
    return run.complete(name, model, expand(source, in_order(overlay(outer, own)), run.budget))


def _prepared(model: Map) -> Map:
    """Remove comments from the commands, and fill in the default address."""
    for key in ("cmd", "cmdStop"):
        node = model.get(key)
        if isinstance(node, Scalar) and node.kind is NodeKind.TEXT and "#" in node.text:
            model = model.with_value(key, text(strip_comments(str(node.value)), node.mark))
    if is_null(model.get("proxy")):
        model = model.with_value("proxy", text(DEFAULT_PROXY, model.mark))
    return model


def _needs_port(model: Map, path: Path, report: Report) -> bool:
    user = next((key for key in _GIVES_PORT if uses(model.get(key), PORT_TOKEN)), None)
    if user is not None and user != "cmd" and not _means_port(model.get("cmd")):
        node = model.get(user)
        mark = model.mark if node is None else node.mark
        message = "${PORT} is used, but not by cmd: the server must find its port by itself"
        report.warn(mark, (*path, user), message, "write ${PORT} into cmd, or a port into proxy")
    return user is not None


def _means_port(command: Node | None) -> bool:
    """Tell whether the command holds `{PORT}`, `${port}` or the like, which has a warning of its own."""
    written = command.text if isinstance(command, Scalar) else ""
    names = [name for _, _, name in leftovers(text(written), ())]
    return PORT_TOKEN in [
        *(macro_ for _, macro_ in foreign_placeholders(written, ())),
        *(PORT_TOKEN for name in names if normalised(name) == "port"),
    ]


def _check_foreign_placeholders(model: Map, path: Path, scope: Scope, report: Report) -> None:
    names = [one.name for one in scope if len(one.name) >= _SHORTEST_FOREIGN]
    for key in _GIVES_PORT:
        node = model.get(key)
        for place, scalar in () if node is None else walk(node, (*path, key)):
            for written, meant in foreign_placeholders(scalar.text, names):
                if not (written == "$PORT" and uses(model.get("env"), "PORT=")):
                    _warn_unexpanded(place, scalar, written, meant, report)


def _check_environment(node: Node, path: Path, report: Report) -> None:
    for place, scalar in walk(node, path):
        for written, meant in foreign_environment(scalar.text):
            _warn_unexpanded(place, scalar, written, meant, report)


def _warn_unexpanded(place: Path, scalar: Scalar, written: str, meant: str, report: Report) -> None:
    seen, then = FoundValue("", written), "which stays as it is"
    report.warn(scalar.mark, place, f"expected {meant}", f"write {meant}", seen=seen, then=then)


def _check_model(model: Map, path: Path, scope: Scope, report: Report, *, has_port: bool) -> None:
    checked = keys_of(RawModel).keys() - _LITERAL_MODEL_KEYS
    _check_foreign_placeholders(model, path, scope, report)
    _check_environment(model, path, report)
    for entry in model.entries:
        for place, scalar, name in leftovers(entry.value, (*path, entry.key)):
            allowed = (name == PORT and has_port) or (name == PID and entry.key == "cmdStop")
            if not allowed:
                literal = entry.key not in checked
                _left_over(place, scalar.mark, name, scope, report, literal=literal)
    for entry in id_keys(model).entries:
        if any(name != PORT or not has_port for _, _, name in leftovers(text(entry.key), ())):
            place = (*path, "filters", "setParamsByID", entry.key)
            report.problem(
                entry.mark, place, "expected a macro; found an unknown macro in the name"
            )
