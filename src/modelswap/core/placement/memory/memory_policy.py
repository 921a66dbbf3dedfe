"""The policy: a model runs beside the others while it fits; else the cheapest ones leave for it.

A model of unknown need runs alone, until it was measured; only pinned ones, and servers that do not exit,
are beside it. The movable part of a need goes

1. to one GPU, where that evicts no model: the one with the most room (`spread`) or the least (`pack`);
2. else to as few GPUs as are enough, where that evicts no model;
3. else to the one GPU for which the cheapest models leave;
4. else to as few GPUs as are enough when others leave, again the cheapest.

Guarantees: what it lets run is within the room of every device that the target uses, by what each model
holds or needs. A pinned model never leaves. One that became ready a moment ago leaves only for an overdue
request. A model with running requests leaves only where nothing else makes enough room.
Does not: count a need on a device that has no pool.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final, Protocol

from modelswap.core.explaining.costs import cost_text
from modelswap.core.placement.policy import (
    NO_EVICTIONS,
    UNKNOWN_NEED,
    Answer,
    Evict,
    NeedSource,
    NeverFits,
    NotYet,
    Placement,
    PlacementPlan,
)
from modelswap.units import Bytes, Seconds

from . import wording
from .board import Board
from .costs import BUSY, FREE, eviction_cost, reload_time
from .eviction_search import cheapest_cover

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from modelswap.core.placement.policy import Policy, Question
    from modelswap.core.spec import ModelId

    from .board import Option

ROUNDING: Final = Seconds(0.001)
"""A remaining protection below this has ended: a timer for it could not be told from now."""


class MemoryRules(Protocol):
    """As configured; `config.plan.MemoryRouting` is one."""

    @property
    def wait(self) -> Seconds: ...
    @property
    def min_residency(self) -> Seconds: ...
    @property
    def strategy(self) -> str: ...


def memory_policy(rules: MemoryRules, pinned: Collection[ModelId] = ()) -> Policy:
    """Place models by memory; *pinned* ones stay once they are loaded."""
    kept = frozenset(pinned)

    def policy(question: Question) -> Answer:
        target, live = question.target, question.live
        if not question.facts.pools or (target in live and target not in question.leaving):
            return NO_EVICTIONS
        return _Decision(question, rules, kept).answer()

    return policy


class _Decision:
    """The answer to one question, in steps."""

    def __init__(self, question: Question, rules: MemoryRules, pinned: frozenset[ModelId]) -> None:
        self._question = question
        self._rules = rules
        self._need = question.facts.needs.get(question.target, UNKNOWN_NEED)
        self._others = [model for model in question.live if model != question.target]
        self._board = Board(question.facts, self._others)
        self._staying = pinned | question.stuck
        self._movable = [model for model in self._others if model not in self._staying]
        self._costs: dict[ModelId, float] = {}

    def answer(self) -> Answer:
        question = self._question
        must_leave = self._strangers()
        if must_leave and (wait := self._still_protected(must_leave)) is not None:
            return NotYet(wording.just_loaded(must_leave), wait)
        if self._need.source is NeedSource.UNKNOWN:
            why = wording.measured_alone(question.target) if must_leave else ""
            return PlacementPlan(frozenset(map(Evict, must_leave)), why=why)
        free = self._board.freed(must_leave)
        option = self._without_more(free)
        if option is not None:
            return self._placed(must_leave, option, free)
        return self._with_evictions(must_leave, free)

    # Models of unknown need

    def _strangers(self) -> list[ModelId]:
        """Return those that must leave because a need is not known: the target's, or their own."""
        if self._need.source is NeedSource.UNKNOWN:
            return self._movable
        return [model for model in self._movable if self._is_unknown(model)]

    def _is_unknown(self, model: ModelId) -> bool:
        need = self._question.facts.needs.get(model, UNKNOWN_NEED)
        return need.source is NeedSource.UNKNOWN

    # Where it fits

    def _without_more(self, free: Sequence[int]) -> Option | None:
        """Return where the target fits into *free*."""
        board, need = self._board, self._need
        fitting = [one for one in board.singles(need) if not board.missing(one, free)]
        if fitting:
            is_spread = self._rules.strategy == "spread"
            return min(fitting, key=lambda one: self._rank(one, free, is_spread=is_spread))
        for options in board.splits(need):
            for option in options:
                if not board.missing(option, free):
                    return option
        return None

    @staticmethod
    def _rank(
        option: Option, free: Sequence[int], *, is_spread: bool
    ) -> tuple[int, tuple[int, ...]]:
        room = sum(free[gpu] for gpu in option.gpus)
        return (-room if is_spread else room), option.gpus

    # Who leaves

    def _with_evictions(self, must_leave: list[ModelId], free: list[int]) -> Answer:
        out = set(must_leave)
        rest = [model for model in self._movable if model not in out]
        protected = {model: left for model in rest if (left := self._protection(model)) > 0}
        allowed = set(rest) - protected.keys()
        found = self._cheapest(allowed, free)
        if found is not None:
            chosen, option = found
            leaving = [*must_leave, *chosen]
            return self._placed(leaving, option, self._board.freed(leaving))
        if protected and self._without_more(self._board.freed([*must_leave, *rest])) is not None:
            return NotYet(wording.just_loaded(sorted(protected)), Seconds(min(protected.values())))
        return self._no_room()

    def _cheapest(
        self, allowed: Collection[ModelId], free: Sequence[int]
    ) -> tuple[list[ModelId], Option] | None:
        """Return the cheapest evictions and the place they make; `None`: there are none."""
        splits = self._board.splits(self._need)
        for options in chain((self._board.singles(self._need),), splits):
            found: list[tuple[float, int, tuple[int, ...], list[ModelId], Option]] = []
            for option in options:
                victims = self._victims(option, allowed, free)
                if victims is not None:
                    cost = sum(map(self._cost, victims))
                    found.append((cost, len(victims), option.gpus, victims, option))
            if found:
                *_, victims, option = min(found, key=lambda one: one[:3])
                return victims, option
        return None

    def _victims(
        self, option: Option, allowed: Collection[ModelId], free: Sequence[int]
    ) -> list[ModelId] | None:
        """Return the models to evict for one place, in the order of the question."""
        short = self._board.missing(option, free)
        holders = [[self._board.on[at] for at in demand.devices] for demand, _ in short]
        frees: dict[ModelId, list[int]] = {}
        for place, devices in enumerate(holders):
            for on in devices:
                for model, size in on.items():
                    if model in allowed:
                        frees.setdefault(model, [0] * len(short))[place] += size
        models = list(frees)
        costs = [self._cost(model) for model in models]
        found = cheapest_cover(costs, list(frees.values()), [size for _, size in short])
        return None if found is None else [models[at] for at in found]

    def _cost(self, model: ModelId) -> float:
        cost = self._costs.get(model)
        if cost is None:
            cost = self._costs[model] = self._cost_of(model)
        return cost

    def _cost_of(self, model: ModelId) -> float:
        question = self._question
        if model in question.leaving:
            return FREE
        size = sum(size for _, size in self._board.held[model])
        usage = question.usage(model)
        reload = reload_time(model, size, question.facts)
        cost = eviction_cost(reload, usage, is_overdue=question.is_overdue)
        return cost + (BUSY if usage.in_flight or model in question.loading else 0.0)

    def _told(self, leaving: Sequence[ModelId]) -> list[str]:
        """Say of each model what it holds, and how its cost comes about."""
        question = self._question
        return [
            f"{model}{cost_text(question.usage(model), question.facts, model)}" for model in leaving
        ]

    def _protection(self, model: ModelId) -> Seconds:
        """Return how long a model is still protected by `minResidency`, no longer than its reload takes."""
        if self._question.is_overdue or model in self._question.leaving:
            return Seconds(0.0)
        resident = self._question.usage(model).resident
        bound = self._rules.min_residency
        reload = self._question.facts.reload.get(model, bound)
        left = min(bound, reload) - resident
        return Seconds(left if resident > 0 and left >= ROUNDING else 0.0)

    def _still_protected(self, models: Sequence[ModelId]) -> Seconds | None:
        left = max(self._protection(model) for model in models)
        return left if left > 0 else None

    # Answers

    def _no_room(self) -> Answer:
        """Say whether others hold the room, or whether there is too little at all."""
        board, question = self._board, self._question
        free = [pool.total - pool.reserve for pool in board.pools]
        staying = {model for model in self._others if model in self._staying}
        for model in staying - question.stuck:
            for at, size in board.held[model]:
                free[at] -= size
        if self._without_more(free) is None:
            return NeverFits(wording.never(question.target, self._need, board, free))
        now = board.freed(self._movable)
        why = wording.held_by_others(question, self._need, board, now)
        return NotYet(why, refuse_after=self._rules.wait)

    def _placed(self, leaving: list[ModelId], option: Option, free: Sequence[int]) -> PlacementPlan:
        board = self._board
        promised = board.placed(self._need, option.gpus, free)
        why = ""
        if leaving:
            why = wording.making_room(self._need, board, option, self._told(leaving))
        named = {at for at, _ in promised if at in board.gpus}
        is_chosen = bool(option.gpus) and len(named) < len(board.gpus)
        devices = tuple(board.pools[at].id for at in sorted(named)) if is_chosen else ()
        sizes = tuple((board.pools[at].id, Bytes(size)) for at, size in promised)
        return PlacementPlan(
            frozenset(map(Evict, leaving)), Placement(devices=devices, promised=sizes), why
        )
