"""Selectors: one name, several targets, one choice per request.

Law: the choice is a function of the targets' states and of this selector's own
outstanding requests; direct requests and other selectors do not count. It
refuses to know models: a target is a name, its state is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

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
    """Fills one target before it wakes the next."""

    def __init__(self, targets: Sequence[str], limit: int) -> None:
        self._limit = limit
        self._taken = dict.fromkeys(targets, 0)
        self._turn = 0
        """Advances with every least-busy choice, so that ties rotate."""

    def choose(self, state_of: StateOf) -> str | None:
        """Choose a target; `None` when all of them are stopping."""
        active, cold = self._classify(state_of)
        if active and (not cold or min(self._taken[t] for t in active) < self._limit):
            return self._least_busy(active)
        return cold[0] if cold else None

    def reserve(self, target: str) -> None:
        self._taken[target] += 1

    def release(self, target: str) -> None:
        self._taken[target] -= 1

    def _classify(self, state_of: StateOf) -> tuple[list[str], list[str]]:
        active: list[str] = []
        cold: list[str] = []
        for target, taken in self._taken.items():
            state = state_of(target)
            if state is TargetState.STOPPING:
                continue
            (active if taken or state in _LIVE else cold).append(target)
        return active, cold

    def _least_busy(self, active: Sequence[str]) -> str:
        least = min(self._taken[target] for target in active)
        ties = [target for target in active if self._taken[target] == least]
        chosen = ties[self._turn % len(ties)]
        self._turn += 1
        return chosen


@dataclass(frozen=True, slots=True)
class SelectorFacts:
    """One selector as configured; `strategy` is `pin`, `warm` or `spillover`."""

    id: str
    strategy: str
    targets: tuple[str, ...]
    spillover: int = 1


class Selectors:
    """All selectors of one configuration, and what each has outstanding."""

    def __init__(self, facts: Iterable[SelectorFacts]) -> None:
        self._facts = {fact.id: fact for fact in facts}
        self._spills = {
            fact.id: Spillover(fact.targets, fact.spillover)
            for fact in self._facts.values()
            if fact.strategy == "spillover"
        }

    def take(self, selector: str, state_of: StateOf) -> str | None:
        """Choose a target and count the request; pair it with `release`."""
        fact = self._facts[selector]
        spill = self._spills.get(selector)
        if spill is not None:
            chosen = spill.choose(state_of)
            if chosen is not None:
                spill.reserve(chosen)
            return chosen
        if fact.strategy == "warm":
            return warm(fact.targets, state_of)
        return fact.targets[0]

    def release(self, selector: str, target: str) -> None:
        """End what `take` began; nothing to do for strategies that do not count."""
        spill = self._spills.get(selector)
        if spill is not None:
            spill.release(target)
