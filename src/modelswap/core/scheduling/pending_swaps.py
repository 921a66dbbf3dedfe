"""The swaps in progress: which exits they wait for, and whom they evict."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelswap.core.models.lifecycle import Phase
from modelswap.core.placement.policy import ANYWHERE
from modelswap.core.spec import ModelId
from modelswap.deferred import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modelswap.core.models.state import ModelState
    from modelswap.core.placement.policy import Placement

    from .admission import Swap


@dataclass(slots=True, eq=False)
class PendingSwap:
    """A swap in progress, from its decision until the model is ready."""

    awaiting: set[ModelId]
    """The models whose exit it waits for."""
    evicted: tuple[ModelId, ...] = ()
    """The ready models that it evicts, the most recently used first."""
    placement: Placement = ANYWHERE


class PendingSwaps(dict[ModelId, PendingSwap]):
    """By the model that is loaded."""

    def begin(
        self, model: ModelId, swap: Swap, states: Mapping[ModelId, ModelState]
    ) -> PendingSwap:
        """Note a decided swap, in place of those to its victims: abandoned loads."""
        for victim in swap.victims:
            self.pop(victim, None)
        awaiting = {m for m in swap.victims if states[m].is_alive}
        ready = [m for m in awaiting if states[m].phase is Phase.READY]
        recent = sorted(ready, key=lambda m: states[m].used, reverse=True)
        begun = self[model] = PendingSwap(awaiting, tuple(recent), swap.placement)
        return begun

    def awaiting(self, model: ModelId) -> list[ModelId]:
        """Return the models whose swaps wait for the exit of this one."""
        return [target for target, swap in self.items() if model in swap.awaiting]

    def on_exited(self, model: ModelId) -> list[tuple[ModelId, PendingSwap]]:
        """Take note of an exit; return the swaps that wait for no other one."""
        targets = self.awaiting(model)
        for target in targets:
            self[target].awaiting.remove(model)
        return [(target, self[target]) for target in targets if not self[target].awaiting]

    def forget(self, model: ModelId) -> None:
        """Drop the model's swap, and do not bring it back after the failure of another."""
        self.pop(model, None)
        for swap in self.values():
            swap.evicted = tuple(m for m in swap.evicted if m != model)
