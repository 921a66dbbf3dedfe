"""Older spellings are rewritten as today's. Pure; every node keeps its place.

| form                               | releases      | becomes                                     |
|------------------------------------|---------------|---------------------------------------------|
| `profiles: {name: [model, …]}`     | v0.1.0 to v240 | list profiles (`name:model`), as to v106    |
| top-level `groups`                 | v107 to today  | `routing.router.settings.groups`            |
| top-level `matrix`                 | v202 to today  | `routing.router.settings.matrix`            |
| `models.<id>.cmd_stop`             | v84 to v85     | `cmdStop`, unless that is there             |
| `models.<id>.filters.strip_params` | v131 to today  | `stripParams`, unless that has a value   |
| `models.<id>` a number, a date     | to v125       | the id as text, as written (see `document`) |
| `logRequests`                      | to v125       | accepted without effect                     |
| `ttl` below -1                     | to v125       | never, with a warning (see `models`)        |
| `startPort: 0`                     | to v125       | 5800, with a warning (see `settings`)       |
| unknown members of groups          | to v125       | left out, with a warning (see `routing`)    |
| `proxy` that is no URL             | to v125       | cannot be started, with a warning           |
| macros of v125                     | v123 to v162   | see `macros`                                |

Where both accept a value and mean different things, the newest meaning holds:
`healthCheckTimeout: 0` (15, not 120), `checkEndpoint: ""` (`/`, not `/health`),
`env` (added to the environment, not instead of it).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from modelswap.config.tree.node import Map, MapEntry, Node, Scalar, Seq, is_null, text

if TYPE_CHECKING:
    from modelswap.config.messages.report import Report
    from modelswap.config.tree.node import Path

LIST_PROFILES: Final = "(list profiles)"


def modernise(root: Map, report: Report) -> Map:
    """Rewrite every older form; contradictions between old and new are reported."""
    root = _profiles(root, report)
    root = _routing(root, report)
    models = root.get("models")
    if isinstance(models, Map):
        entries = tuple(
            MapEntry(e.key, e.mark, _model(e.key, e.value, report)) for e in models.entries
        )
        root = root.with_value("models", Map(models.mark, entries))
    return root


def _profiles(root: Map, report: Report) -> Map:
    profiles = root.get("profiles")
    root = root.without(LIST_PROFILES)
    if not isinstance(profiles, Map):
        return root
    lists = tuple(e for e in profiles.entries if isinstance(e.value, Seq))
    if not lists:
        return root
    hint = "groups and matrix are today's way"
    message = "the early form of profiles: its models load together as `profile:model`"
    report.warn(lists[0].mark, ("profiles", lists[0].key), message, hint)
    kept = profiles.without(*(e.key for e in lists))
    root = root.with_value("profiles", kept)
    report.file_paths[(LIST_PROFILES,)] = ("profiles",)
    return root.with_value(LIST_PROFILES, Map(profiles.mark, lists))


def _has_content(node: Node | None) -> bool:
    return not is_null(node) and not (isinstance(node, Map) and not node.entries)


def _routing(root: Map, report: Report) -> Map:
    groups, matrix = root.get("groups"), root.get("matrix")
    old: dict[str, Node] = {}
    if groups is not None and _has_content(groups):
        old["groups"] = groups
    if matrix is not None and not is_null(matrix):
        old["matrix"] = matrix
    root = root.without("groups", "matrix")
    if not old:
        return root
    if len(old) > 1:
        message = "expected groups or a matrix; found both: they exclude each other"
        report.problem(old["matrix"].mark, ("matrix",), message)
    name, value = next(iter(old.items()))
    routing = _sub_map(root, "routing")
    router = _sub_map(routing, "router")
    settings = _sub_map(router, "settings")
    today = (router.get("use"), settings.get("groups"), settings.get("matrix"))
    if not all(map(is_null, today)):
        message = f"expected one of the two; found both {name} and routing.router"
        report.problem(value.mark, (name,), message, "keep one of the two")
    use = text("group" if name == "groups" else "matrix", value.mark)
    settings = Map(value.mark).with_value(name, value)
    router = Map(router.mark).with_value("use", use).with_value("settings", settings)
    report.file_paths["routing", "router", "settings", name] = (name,)
    return root.with_value("routing", routing.with_value("router", router))


def _sub_map(parent: Map, key: str) -> Map:
    found = parent.get(key)
    return found if isinstance(found, Map) else Map(parent.mark)


def _model(name: str, node: Node, report: Report) -> Node:
    if not isinstance(node, Map):
        return node
    old_stop = node.get("cmd_stop")
    if old_stop is not None:
        report.warn(old_stop.mark, ("models", name, "cmd_stop"), "old spelling", "write cmdStop")
        node = node.without("cmd_stop")
        if is_null(node.get("cmdStop")):
            node = node.with_value("cmdStop", old_stop)
            report.file_paths["models", name, "cmdStop"] = ("models", name, "cmd_stop")
    filters = node.get("filters")
    if isinstance(filters, Map) and filters.get("strip_params") is not None:
        node = node.with_value("filters", _filters(name, filters, report))
    return node


def _filters(name: str, filters: Map, report: Report) -> Map:
    old, new = filters.get("strip_params"), filters.get("stripParams")
    filters = filters.without("strip_params")
    is_empty = is_null(new) or (isinstance(new, Scalar) and new.value == "")
    if old is None or not is_empty:
        return filters
    path: Path = ("models", name, "filters")
    report.file_paths[*path, "stripParams"] = (*path, "strip_params")
    return filters.with_value("stripParams", old)
