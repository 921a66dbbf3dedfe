"""A plan in short, as `modelswap check` prints it: without secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelswap.core.explaining.quantities import count_text

from .commands.secrets import shown_command
from .plan import Matrix

if TYPE_CHECKING:
    from .plan import Plan


def describe(plan: Plan) -> list[str]:
    models = count_text(len(plan.models), "model")
    out = [f"{models}, {count_text(len(plan.settings.api_keys), 'API key')}"]
    for model in plan.models.values():
        names = f" (also {', '.join(model.aliases)})" if model.aliases else ""
        port = f", port {model.port}" if model.port else ""
        address = shown_command(plan, model.proxy) or "no address"
        out.append(f"  {model.id}{names}: {address}{port}")
    out += [
        f"not pulled yet: {one.id}: {one.pull_name}; the first request for it pulls it"
        for one in plan.models.values()
        if one.is_missing
    ]
    if isinstance(plan.routing, Matrix):
        out += [f"set {name}: {text}" for name, text in plan.routing.sets.items()]
    else:
        for group in plan.routing.groups:
            flags = [n for n in ("swap", "exclusive", "persistent") if getattr(group, n)]
            out.append(f"group {group.id} [{', '.join(flags)}]: {', '.join(group.members)}")
    if plan.memory is not None:
        out.append("models run together while they fit into memory (docs/placement.md)")
    out += [f"peer {one.id}: {', '.join(one.models)}" for one in plan.peers.values()]
    for one in plan.selectors.values():
        out.append(f"selector {one.id} ({one.strategy}): {', '.join(one.targets)}")
    out += [f"profile {name}" for name in (*plan.profiles, *plan.legacy_profiles)]
    entries = () if plan.discovered is None else plan.discovered.models
    return out + [f"not served: {one.model.path}: {one.reason}" for one in entries if one.reason]
