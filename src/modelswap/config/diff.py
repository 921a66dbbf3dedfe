"""What changed between two plans, so that a reload touches nothing else. Pure."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from modelswap.deferred import dataclass

from .plan import DEFAULT_GROUP, Matrix
from .schema.field_types import keys_of
from .schema.schema import RawModel
from .schema.schema_root import RawConfig

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from modelswap.core.spec import ModelId

    from .plan import Group, Plan

T = TypeVar("T")
NEEDS_RESTART: Final = {"log_to_stdout": "logToStdout", "keeper_grace": "keeper.grace"}
_MOST_SHOWN: Final = 5
"""Models named in the log line."""
_OF_THE_SERVER: Final = frozenset(
    {"id", "cmd", "argv", "cmd_stop", "stop_command", "proxy", "check_endpoint", "port", "env"}
    | {"identity", "spec", "pull_name", "is_missing"}
)
"""Fields of a model that are in its identity, follow from it, or are compared on their own."""
_MODEL_KEYS: Final = {
    **{key.attribute: key.name for key in keys_of(RawModel).values()},
    "start_timeout": "healthCheckTimeout",
    "stop_grace": "unloadTimeout",
    "ignore_websockets": "compat",
}
_SETTING_KEYS: Final = {
    **{key.attribute: key.name for key in keys_of(RawConfig).values()},
    "session_headers": "ui",
    "ignore_paths": "upstream",
    "preload": "hooks",
    "idle_model": "hooks",
    "redact_headers": "captures",
    "max_wait": "routing.scheduler",
}
"""Keys of the top level by the attributes of `Settings`; `keeper_grace` and the like begin with theirs."""


@dataclass(frozen=True, slots=True)
class Diff:
    """Models by what a reload does with them; `same` ones may differ in everything but their server."""

    added: frozenset[ModelId]
    removed: frozenset[ModelId]
    changed: frozenset[ModelId]
    same: frozenset[ModelId]
    settings: tuple[str, ...] = ()
    """Attributes of `Settings` that differ."""
    updated: tuple[tuple[ModelId, tuple[str, ...]], ...] = ()
    """The `same` ones that differ in other keys: they go on running."""
    sections: tuple[str, ...] = ()
    """Keys of the top level that differ, without `models`."""
    needs_restart: tuple[str, ...] = ()
    """Keys whose new value takes effect at the next start of the program."""


def diff(old: Plan, new: Plan) -> Diff:
    """Compare by identity: a port that shifted is no change, a new command is one."""
    both = old.models.keys() & new.models.keys()
    changed = {name for name in both if old.models[name].identity != new.models[name].identity}
    settings = tuple(_differing(old.settings, new.settings))
    return Diff(
        added=frozenset(new.models.keys() - both),
        removed=frozenset(old.models.keys() - both),
        changed=frozenset(changed),
        same=frozenset(both - changed),
        settings=settings,
        updated=tuple(_updated(old, new, sorted(both - changed))),
        sections=_sections(old, new, settings),
        needs_restart=tuple(NEEDS_RESTART[name] for name in settings if name in NEEDS_RESTART),
    )


def _updated(
    old: Plan, new: Plan, names: Iterable[ModelId]
) -> Iterator[tuple[ModelId, tuple[str, ...]]]:
    for name in names:
        before, now = old.models[name], new.models[name]
        if before.port is not None:
            now = now.at_port(before.port)  # a port that shifted is no change
        differing = (*_differing(before, now), *_differing(before.spec, now.spec))
        keys = {_MODEL_KEYS.get(one, one) for one in differing if one not in _OF_THE_SERVER}
        if keys:
            yield name, tuple(sorted(keys))


def _differing(old: T, new: T) -> Iterator[str]:
    for one in fields(cast("Any", old)):
        if one.compare and getattr(old, one.name) != getattr(new, one.name):
            yield one.name


def _sections(old: Plan, new: Plan, settings: Iterable[str]) -> tuple[str, ...]:
    found = dict.fromkeys(_SETTING_KEYS.get(n) or n.partition("_")[0] for n in settings)
    if old.routing != new.routing:
        # A new or removed model changes the default group, which is in no file.
        is_matrix = isinstance(new.routing, Matrix)
        if is_matrix or _own_groups(old) != _own_groups(new):
            found["matrix" if is_matrix else "groups"] = None
    if old.memory != new.memory:
        found["routing.router"] = None
    for name in ("devices", "peers", "selectors", "profiles", "legacy_profiles"):
        if getattr(old, name) != getattr(new, name):
            found[name.removeprefix("legacy_")] = None
    return tuple(found)


def _own_groups(plan: Plan) -> tuple[Group, ...] | None:
    if isinstance(plan.routing, Matrix):
        return None
    return tuple(group for group in plan.routing.groups if group.id != DEFAULT_GROUP)


def summary(change: Diff) -> str:
    """Say in one line for the log what a reload changed: keys and ids, no values."""
    from modelswap.core.explaining.quantities import count_text  # noqa: PLC0415 - at a reload

    text = (
        f"{count_text(len(change.added), 'model')} added, {len(change.changed)} changed, "
        f"{len(change.removed)} removed, {len(change.same)} same"
    )
    if change.updated:
        shown = [f"{name} ({', '.join(keys)})" for name, keys in change.updated[:_MOST_SHOWN]]
        more = len(change.updated) - len(shown)
        shown += [f"{more} more"] if more else []
        text += f"; {len(change.updated)} updated without a restart: {', '.join(shown)}"
    if change.sections:
        text += f"; changed: {', '.join(change.sections)}"
    return text
