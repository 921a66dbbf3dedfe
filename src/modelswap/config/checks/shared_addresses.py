"""Warnings of models that share an address though the routing lets them run together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelswap.config.commands.addresses import LOCALHOST, fixed_address, listening
from modelswap.config.compile.policy import may_run_together

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from modelswap.config.messages.diagnostics import Diagnostics
    from modelswap.config.plan import Plan
    from modelswap.core.placement.policy import Policy
    from modelswap.core.spec import ModelId


def warn_of_shared(plan: Plan, policy: Policy, diagnostics: Diagnostics) -> None:
    """Warn of models that listen at one address though the routing lets them run together."""
    for name, other in _shared(listening(plan.models), policy):
        _warn(name, other, "so one is unloaded for the other", diagnostics)


def warn_of_unnamed(plan: Plan, policy: Policy, diagnostics: Diagnostics) -> None:
    """Warn of the same for commands that do not name the port: they may share a server."""
    own = listening(plan.models)
    fixed = {name: fixed_address(model) for name, model in plan.models.items()}
    here = {name: at for name, at in fixed.items() if at.startswith((f"{LOCALHOST}:", "/"))}
    for name, other in _shared(here, policy):
        if name not in own or other not in own:
            _warn(name, other, "so only one of their commands may start a server", diagnostics)


def _warn(name: ModelId, other: ModelId, then: str, diagnostics: Diagnostics) -> None:
    message = f"expected an address of its own; found that of {other!r}"
    hint = "write ${PORT} into cmd, or give each a port of its own"
    diagnostics.warn(("models", name, "proxy"), message, hint, then=then)


def _shared(addresses: Mapping[ModelId, str], policy: Policy) -> Iterator[tuple[ModelId, ModelId]]:
    """Yield each model that may run together with an earlier one of the same address."""
    first: dict[str, ModelId] = {}
    for name, address in addresses.items():
        other = first.setdefault(address, name)
        if other != name and may_run_together(policy, name, other):
            yield name, other
