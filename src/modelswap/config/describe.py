"""A plan in short, for `modelswap check`: plain data without secrets."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .commands.secrets import shown_command
from .commands.words import split
from .plan import Groups

if TYPE_CHECKING:
    from .plan import Model, Plan


@dataclass(frozen=True, slots=True)
class ModelRow:
    id: str
    aliases: tuple[str, ...]
    port: int | None
    proxy: str
    group: str
    """The group's name; empty under a matrix."""
    ttl: float | None
    command: str
    """The arguments with blanks between."""


@dataclass(frozen=True, slots=True)
class GroupRow:
    id: str
    swap: bool
    exclusive: bool
    persistent: bool
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Description:
    files: tuple[str, ...]
    models: tuple[ModelRow, ...]
    groups: tuple[GroupRow, ...]
    sets: tuple[tuple[str, str], ...]
    """Of the matrix: name and expression."""
    peers: tuple[tuple[str, tuple[str, ...]], ...]
    selectors: tuple[tuple[str, str, tuple[str, ...]], ...]
    """Name, strategy, targets."""
    profiles: tuple[str, ...]
    keys: int

    def lines(self) -> list[str]:
        """Return the description as lines of text."""
        out = [f"{len(self.models)} models, {self.keys} API keys"]
        for row in self.models:
            names = f" (also {', '.join(row.aliases)})" if row.aliases else ""
            port = f", port {row.port}" if row.port else ""
            out.append(f"  {row.id}{names}: {row.proxy or 'no address'}{port}")
        for group in self.groups:
            flags = [n for n in ("swap", "exclusive", "persistent") if getattr(group, n)]
            out.append(f"group {group.id} [{', '.join(flags)}]: {', '.join(group.members)}")
        out += [f"set {name}: {text}" for name, text in self.sets]
        out += [f"peer {name}: {', '.join(models)}" for name, models in self.peers]
        out += [f"selector {n} ({s}): {', '.join(targets)}" for n, s, targets in self.selectors]
        out += [f"profile {name}" for name in self.profiles]
        return out


def describe(plan: Plan) -> Description:
    """Describe a plan."""
    groups = plan.routing.groups if isinstance(plan.routing, Groups) else ()
    group_of = {member: group.id for group in groups for member in group.members}
    matrix = None if isinstance(plan.routing, Groups) else plan.routing
    return Description(
        files=plan.files,
        models=tuple(_row(plan, one, group_of.get(one.id, "")) for one in plan.models.values()),
        groups=tuple(
            GroupRow(g.id, g.swap, g.exclusive, g.persistent, tuple(g.members)) for g in groups
        ),
        sets=() if matrix is None else tuple(matrix.sets.items()),
        peers=tuple((one.id, one.models) for one in plan.peers.values()),
        selectors=tuple((s.id, s.strategy, s.targets) for s in plan.selectors.values()),
        profiles=(*plan.profiles, *plan.legacy_profiles),
        keys=len(plan.settings.api_keys),
    )


def _row(plan: Plan, model: Model, group: str) -> ModelRow:
    return ModelRow(
        id=model.id,
        aliases=model.aliases,
        port=model.port,
        proxy=shown_command(plan, model.proxy),
        group=group,
        ttl=model.spec.ttl,
        command=" ".join(split(shown_command(plan, shlex.join(model.argv)))),
    )
