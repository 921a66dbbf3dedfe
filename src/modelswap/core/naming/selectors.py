"""Selectors: one name for several targets, with one choice a request.

Guarantees: the choice depends on the targets' states, which the caller gives, and on this selector's
own outstanding requests; direct requests and other selectors do not count.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import TYPE_CHECKING

from modelswap.deferred import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class TargetState(Enum):
    READY = auto()
    STARTING = auto()
    STOPPING = auto()
    STOPPED = auto()
    PEER = auto()


StateOf = Callable[[str], TargetState]
_LIVE = frozenset({TargetState.READY, TargetState.STARTING})


def warm(targets: Sequence[str], state_of: StateOf) -> str:
    """Choose the first ready target, else the first starting one, else the first."""
    states = [state_of(target) for target in targets]
    for wanted in (TargetState.READY, TargetState.STARTING):
        if wanted in states:
            return targets[states.index(wanted)]
    return targets[0]


class Spillover:
    """Fills one target before it starts the next."""

    def __init__(self, targets: Sequence[str], limit: int) -> None:
        self._limit = limit
        self._outstanding = dict.fromkeys(targets, 0)
        self._rotation = 0
        """Advances with every least-busy choice, so that ties rotate."""

    def take(self, state_of: StateOf) -> str | None:
        """Choose a target and count the request; `None` when all of them are stopping."""
        states = {target: state_of(target) for target in self._outstanding}
        usable = [t for t, state in states.items() if state is not TargetState.STOPPING]
        active = [t for t in usable if self._outstanding[t] or states[t] in _LIVE]
        cold = [t for t in usable if t not in active]
        if active and (not cold or min(self._outstanding[t] for t in active) < self._limit):
            chosen = self._least_busy(active)
        elif cold:
            chosen = cold[0]
        else:
            return None
        self._outstanding[chosen] += 1
        return chosen

    def decrement(self, target: str) -> None:
        self._outstanding[target] -= 1

    def _least_busy(self, active: Sequence[str]) -> str:
        least = min(self._outstanding[target] for target in active)
        ties = [target for target in active if self._outstanding[target] == least]
        chosen = ties[self._rotation % len(ties)]
        self._rotation += 1
        return chosen


@dataclass(frozen=True, slots=True)
class SelectorFacts:
    """One selector as configured; `strategy` is `pin`, `warm` or `spillover`."""

    id: str
    strategy: str
    targets: tuple[str, ...]
    spillover: int = 1


class Selectors:
    """All selectors of one configuration, with their outstanding requests."""

    def __init__(self, facts: Iterable[SelectorFacts]) -> None:
        self._facts = {fact.id: fact for fact in facts}
        self._spills = {
            fact.id: Spillover(fact.targets, fact.spillover)
            for fact in self._facts.values()
            if fact.strategy == "spillover"
        }

    def take(self, selector: str, state_of: StateOf) -> str | None:
        """Choose a target and count the request; pair it with `decrement`."""
        fact = self._facts[selector]
        spill = self._spills.get(selector)
        if spill is not None:
            return spill.take(state_of)
        return warm(fact.targets, state_of) if fact.strategy == "warm" else fact.targets[0]

    def decrement(self, selector: str, target: str) -> None:
        """Count a request as ended; does nothing for strategies that do not count."""
        spill = self._spills.get(selector)
        if spill is not None:
            spill.decrement(target)
