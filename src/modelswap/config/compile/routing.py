"""Which models run together: groups or matrix, and the priorities.

Guarantees: an alias counts as its model everywhere. Every model is in exactly one group.
Does not: interpret a matrix; `core.placement.matrix` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from modelswap.config.messages.found_value import FoundValue
from modelswap.config.messages.hints import nearest
from modelswap.config.plan import DEFAULT_GROUP, Group, Groups, Matrix, MemoryRouting
from modelswap.config.schema.field_types import values_of
from modelswap.config.schema.schema import GroupKeys
from modelswap.config.schema.schema_memory import MemoryRoutingKeys
from modelswap.config.tree.node import is_null, node_at
from modelswap.core.spec import ModelId
from modelswap.deferred import regex

from .name_index import report_unknown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from modelswap.config.messages.diagnostics import Diagnostics
    from modelswap.config.plan import Model, Selector
    from modelswap.config.schema.schema import RawGroup, RawMatrix, RawRouter, RawScheduler
    from modelswap.config.schema.schema_root import RawConfig
    from modelswap.config.tree.node import Map, Path
    from modelswap.core.placement.matrix import Compiled

    from .name_index import NameIndex

_ROUTER: Final[Path] = ("routing", "router")
_SETTINGS: Final[Path] = (*_ROUTER, "settings")
_APART: Final = "expected models that may run together; found targets that cannot run together"
ROUTERS: Final = ("group", "matrix", "memory")
"""What `use` may be."""
_VAR = regex(r"[A-Za-z0-9.-]{1,32}")


def routing(
    raw: RawRouter,
    names: NameIndex,
    selectors: Mapping[str, Selector],
    diagnostics: Diagnostics,
    *,
    has_default_group: bool = True,
) -> Groups | Matrix:
    """Return the router that the file chooses, with all its models.

    Without a default group (where models are placed by memory), models in no group are free of rules.
    """
    if raw.use == "memory" and raw.settings.matrix is not None and not raw.settings.groups:
        return _matrix(raw.settings.matrix, names, selectors, diagnostics)
    match raw.use:
        case "matrix":
            return _matrix(raw.settings.matrix, names, selectors, diagnostics)
        case "" | "group" | "memory":
            found = _groups(raw.settings.groups, names, diagnostics)
            if not has_default_group:
                found = Groups(groups=tuple(g for g in found.groups if g.id != DEFAULT_GROUP))
            _check_group_spillover(found, names, selectors, diagnostics)
            if raw.settings.matrix is not None:
                hint = "use: matrix would choose it"
                diagnostics.warn((*_SETTINGS, "matrix"), "has no effect beside the groups", hint)
            return found
        case _:
            hint = nearest(raw.use, ROUTERS)
            diagnostics.expected((*_ROUTER, "use"), f"one of {', '.join(ROUTERS)}", hint)
            return Groups(groups=())


def _groups(
    raw: Mapping[str, RawGroup | None], names: NameIndex, diagnostics: Diagnostics
) -> Groups:
    owner: dict[ModelId, str] = {}
    groups: list[Group] = []
    for name, one in raw.items():
        path: Path = (*_SETTINGS, "groups", name)
        if name == DEFAULT_GROUP:
            message = f"expected a name of your own; found {DEFAULT_GROUP}, left out"
            diagnostics.warn(path, message, "it is the group of all models in no other")
        elif one is None:  # llama-swap's zero value; it has no members
            groups.append(Group(id=name, members=(), swap=False, exclusive=False))
        else:
            members = _members(name, one, owner, names, diagnostics)
            groups.append(Group(id=name, members=members, **values_of(one, GroupKeys)))
    rest = tuple(sorted(ModelId(model) for model in names.models if model not in owner))
    if rest:
        groups.append(Group(id=DEFAULT_GROUP, members=rest))
    return Groups(groups=tuple(groups))


def _members(
    name: str, one: RawGroup, owner: dict[ModelId, str], names: NameIndex, diagnostics: Diagnostics
) -> tuple[ModelId, ...]:
    found: list[ModelId] = []
    for index, member in enumerate(one.members):
        path = (*_SETTINGS, "groups", name, "members", index)
        real = names.local(member)
        if real is None:
            if not diagnostics.report.is_misindented(member):
                hint = nearest(member, names.models)
                diagnostics.tolerated(path, "a model", "left out", hint, value=member)
            continue
        if real in owner:
            where = "twice" if owner[real] == name else f"in group {owner[real]!r}, too"
            diagnostics.problem(
                path, f"expected a model in one group, once; found {member!r} {where}"
            )
            continue
        owner[real] = name
        found.append(real)
    return tuple(found)


def _check_group_spillover(
    groups: Groups, names: NameIndex, selectors: Mapping[str, Selector], diagnostics: Diagnostics
) -> None:
    by_model = {member: group for group in groups.groups for member in group.members}
    for one in selectors.values():
        local = _local_targets(one, names)
        if one.strategy != "spillover" or len(local) < 2:  # noqa: PLR2004 - one spills nowhere
            continue
        owners = [by_model[model] for model in local if model in by_model]
        is_apart = len({group.id for group in owners}) > 1
        if is_apart or (len(owners) > 1 and owners[0].swap):
            hint = "put them into one group with swap: false"
            diagnostics.problem(("selectors", one.id, "targets"), _APART, hint)


def _local_targets(selector: Selector, names: NameIndex) -> list[ModelId]:
    found = (names.local(target) for target in selector.targets)
    return [model for model in found if model is not None]


def _matrix(
    raw: RawMatrix | None,
    names: NameIndex,
    selectors: Mapping[str, Selector],
    diagnostics: Diagnostics,
) -> Matrix:
    path: Path = (*_SETTINGS, "matrix")
    if raw is None:
        message = "expected routing.router.settings.matrix beside `use: matrix`; found nothing"
        diagnostics.problem((*_ROUTER, "use"), message)
        return Matrix(vars={}, sets={}, evict_costs={})
    if not raw.sets:
        diagnostics.problem((*path, "sets"), "expected at least one set; found none")
    found = Matrix(
        vars=_vars(raw, path, names, diagnostics),
        sets={name: text or "" for name, text in raw.sets.items()},
        evict_costs=_costs(raw, path, names, diagnostics),
    )
    compiled = _compile(found, path, names, diagnostics) if raw.sets else None
    if compiled is not None:
        _check_matrix_spillover(compiled, names, selectors, diagnostics)
    return found


def _vars(
    raw: RawMatrix, path: Path, names: NameIndex, diagnostics: Diagnostics
) -> dict[str, ModelId]:
    found: dict[str, ModelId] = {}
    for name, model in raw.vars.items():
        place = (*path, "vars", name)
        if not _VAR.fullmatch(name):
            what = "expected a var's name of 1 to 32 letters, digits, dots and dashes"
            diagnostics.problem(place, what, seen=FoundValue("", name))
        real = names.local(model or "")
        if real is None:
            hint = nearest(model or "", names.models)
            diagnostics.expected(place, "a model", hint)
        else:
            found[name] = real
    return found


def _costs(
    raw: RawMatrix, path: Path, names: NameIndex, diagnostics: Diagnostics
) -> dict[ModelId, int]:
    """Return the costs by model; a cost for the model's id wins over one for its var."""
    found: dict[ModelId, int] = {}
    own: set[ModelId] = set()
    for name, cost in raw.evict_costs.items():
        place = (*path, "evict_costs", name)
        real = names.local(raw.vars.get(name) or name)
        if real is None:
            known = [*raw.vars, *names.models]
            what = "expected a var or a model"
            diagnostics.problem(place, what, nearest(name, known), seen=FoundValue("", name))
        elif cost is not None and cost < 1:
            diagnostics.expected(place, "a whole number of at least 1")
        elif cost is not None and (name == real or real not in own):
            found[real] = cost
            if name == real:
                own.add(real)
    return found


def _compile(
    matrix: Matrix, path: Path, names: NameIndex, diagnostics: Diagnostics
) -> Compiled | None:
    # Most files have no matrix.
    from modelswap.core.placement.expressions import MatrixError  # noqa: PLC0415 - as said
    from modelswap.core.placement.matrix import compile_matrix, warnings  # noqa: PLC0415 - as said

    try:
        compiled = compile_matrix(
            variables=matrix.vars,
            sets=matrix.sets,
            costs=matrix.evict_costs,
            models=[ModelId(model) for model in sorted(names.models)],
        )
    except MatrixError as broken:
        for name, text in broken.problems:
            diagnostics.problem((*path, "sets", name), text)
        return None
    for text in warnings(compiled):
        diagnostics.warn((*path, "sets"), text)
    return compiled


def _check_matrix_spillover(
    compiled: Compiled,
    names: NameIndex,
    selectors: Mapping[str, Selector],
    diagnostics: Diagnostics,
) -> None:
    from modelswap.core.placement.matrix import choose  # noqa: PLC0415 - most files have no matrix

    for one in selectors.values():
        local = _local_targets(one, names)
        if one.strategy != "spillover" or len(local) < 2:  # noqa: PLR2004 - one spills nowhere
            continue
        if choose(compiled, local[0], local[1:]).evict:
            hint = "one set must allow them all"
            diagnostics.problem(("selectors", one.id, "targets"), _APART, hint)


def priorities(raw: RawScheduler, names: NameIndex, diagnostics: Diagnostics) -> dict[str, int]:
    """Return the priorities by model; one for the model's id wins over one for its alias."""
    path: Path = ("routing", "scheduler")
    if raw.use not in {"", "fifo"}:
        diagnostics.expected((*path, "use"), "fifo", nearest(raw.use, ("fifo",)))
    found: dict[str, int] = {}
    for name, number in raw.settings.fifo.priority.items():
        real = names.local(name)
        if real is None:
            place = (*path, "settings", "fifo", "priority", name)
            report_unknown(place, "a model", name, names, diagnostics)
        elif name == real or real not in found:
            found[real] = number or 0
    return found


def memory_routing(
    raw: RawConfig,
    root: Map,
    models: Iterable[Model],
    diagnostics: Diagnostics,
    *,
    finds_models: bool,
) -> MemoryRouting | None:
    """Return how models are placed by memory; `None`: they are not.

    They are where the file asks for it, and where it has no groups, matrix or profiles but says
    something that only this program understands of models and memory (docs/placement.md).
    """
    router = raw.routing.router
    if router.use != "memory" and (
        not _has_no_router(root)
        or raw.profiles
        or raw.list_profiles
        or not (finds_models or raw.devices or any(one.memory or one.source for one in models))
    ):
        path = (*_SETTINGS, "memory")
        if not is_null(node_at(root, path)):
            diagnostics.warn(path, "has no effect: models are not placed by memory", "use: memory")
        return None
    return MemoryRouting(**values_of(router.settings.memory, MemoryRoutingKeys))


def counts_models(root: Map) -> bool:
    """Tell whether the number of models alone bounds what runs together: no router says it."""
    return not is_null(root.get("modelsMax")) and _has_no_router(root)


def _has_no_router(root: Map) -> bool:
    return is_null(node_at(root, _ROUTER))
