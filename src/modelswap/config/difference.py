"""What changed between two plans, so that a reload touches nothing else. Pure."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from modelswap.core.spec import ModelId

    from .plan import Plan, Settings

NEEDS_RESTART: Final = {
    "log_to_stdout": "logToStdout",
    "keeper_grace": "keeper.grace",
}


@dataclass(frozen=True, slots=True)
class Diff:
    """Models by what a reload means for them; `same` ones may differ in all but their server."""

    added: frozenset[ModelId]
    removed: frozenset[ModelId]
    changed: frozenset[ModelId]
    same: frozenset[ModelId]
    settings: tuple[str, ...] = ()
    """Attributes of `Settings` that differ."""
    needs_restart: tuple[str, ...] = ()
    """Keys whose new value counts from the next start of the program."""


def diff(old: Plan, new: Plan) -> Diff:
    """Compare by identity: a port that shifted is no change, a new command is one."""
    both = old.models.keys() & new.models.keys()
    changed = {name for name in both if old.models[name].identity != new.models[name].identity}
    settings = _settings(old.settings, new.settings)
    return Diff(
        added=frozenset(new.models.keys() - both),
        removed=frozenset(old.models.keys() - both),
        changed=frozenset(changed),
        same=frozenset(both - changed),
        settings=settings,
        needs_restart=tuple(NEEDS_RESTART[name] for name in settings if name in NEEDS_RESTART),
    )


def _settings(old: Settings, new: Settings) -> tuple[str, ...]:
    names = (one.name for one in fields(old))
    return tuple(name for name in names if getattr(old, name) != getattr(new, name))
