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

from dataclasses import replace
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Final, Protocol

from modelswap.core.explaining.costs import cost_text
from modelswap.core.models.experience import reload_time
from modelswap.core.placement.policy import (
    NO_EVICTIONS,
    RAM,
    UNKNOWN_NEED,
    Answer,
    Evict,
    NeedSource,
    NeverFits,
    NotYet,
    Placement,
    PlacementPlan,
    stop,
)
from modelswap.units import Bytes, Seconds

from . import wording
from .board import Board
from .costs import BUSY, FREE, eviction_cost
from .eviction_search import cheapest_cover

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from modelswap.core.placement.policy import Need, Policy, Question
    from modelswap.core.spec import ModelId

    from .board import Demand, Option

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
        if target in live and target not in question.leaving:
            return NO_EVICTIONS
        if not question.facts.pools:
            return _one_at_a_time(question, kept)
        return _Decision(question, rules, kept).answer()

    return policy


def _one_at_a_time(question: Question, pinned: frozenset[ModelId]) -> Answer:
    """Answer before anything is known of the devices: beside pinned models alone.

    So a driver that is slow or hangs does not let everything start at once. What runs already, as at an
    adoption, stays until a request has waited for its bound.
    """
    others = frozenset(question.live) - {question.target, *pinned}
    if not others:
        return NO_EVICTIONS
    return stop(others, wording.NOT_READ) if question.is_overdue else NotYet(wording.NOT_READ)


class _Decision:
    """The answer to one question, in steps."""

    def __init__(self, question: Question, rules: MemoryRules, pinned: frozenset[ModelId]) -> None:
        self._question = question
        self._rules = rules
        self._others = [model for model in question.live if model != question.target]
        self._board = Board(question.facts, self._others)
        self._staying = pinned | question.stuck
        self._movable = [model for model in self._others if model not in self._staying]
        need = question.facts.needs.get(question.target, UNKNOWN_NEED)
        self._need = self._fitted(need) if need.is_fitted else need
        self._usage_of = cache(question.usage)

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

    def _fitted(self, need: Need) -> Need:
        """Return what a server takes at most that fits itself: what is left when all others that may have left."""
        board = self._board
        left = board.freed(self._movable)
        room = {pool.id: Bytes(max(0, free)) for pool, free in zip(board.pools, left, strict=True)}
        fixed = {device: min(size, room.get(device, size)) for device, size in need.fixed.items()}
        at_most = {pool.id: free for pool, free in zip(board.pools, self._at_most(), strict=True)}
        least = Bytes(max(0, min(need.least_ram, at_most.get(RAM, 0))))
        if RAM in fixed:
            fixed[RAM] = max(fixed[RAM], least)
        on_gpus = sum(
            room[board.pools[at].id] - fixed.get(board.pools[at].id, 0) for at in board.gpus
        )
        return replace(need, fixed=fixed, movable=Bytes(min(need.movable, on_gpus)))

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
        board, cost_of = self._board, cache(self._cost)
        gains = [{m: size for m, size in on.items() if m in allowed} for on in board.on]
        most = [sum(sizes.values()) for sizes in gains]
        for options in chain((board.singles(self._need),), board.splits(self._need)):
            found: list[tuple[float, int, tuple[int, ...], list[ModelId], Option]] = []
            for option in options:
                short = board.missing(option, free)
                if any(size > sum([most[at] for at in one.devices]) for one, size in short):
                    continue
                victims = _victims(short, gains, cost_of)
                found.append(
                    (sum(map(cost_of, victims)), len(victims), option.gpus, victims, option)
                )
            if found:
                *_, victims, option = min(found, key=lambda one: one[:3])
                return victims, option
        return None

    def _cost(self, model: ModelId) -> float:
        question = self._question
        if model in question.leaving:
            return FREE
        usage = self._usage_of(model)
        reload = reload_time(model, question.facts)
        cost = eviction_cost(reload, usage, is_overdue=question.is_overdue)
        return cost + (BUSY if usage.in_flight or model in question.loading else 0.0)

    def _told(self, leaving: Sequence[ModelId]) -> list[str]:
        """Say of each model what it holds, and how its cost comes about."""
        question = self._question
        return [
            f"{model}{cost_text(self._usage_of(model), question.facts, model)}" for model in leaving
        ]

    def _protection(self, model: ModelId) -> Seconds:
        """Return how long a model is still protected by `minResidency`, no longer than its reload takes."""
        if self._question.is_overdue or model in self._question.leaving:
            return Seconds(0.0)
        resident = self._usage_of(model).resident
        bound = self._rules.min_residency
        if resident >= bound:
            return Seconds(0.0)
        reload = self._question.facts.reload.get(model, bound)
        left = min(bound, reload) - resident
        return Seconds(left if resident > 0 and left >= ROUNDING else 0.0)

    def _still_protected(self, models: Sequence[ModelId]) -> Seconds | None:
        left = max(self._protection(model) for model in models)
        return left if left > 0 else None

    # Answers

    def _at_most(self) -> list[int]:
        """Return what may become free of each device: all but the reserve, and what pinned models hold."""
        free = [pool.total - pool.reserve for pool in self._board.pools]
        staying = {model for model in self._others if model in self._staying}
        for model in staying - self._question.stuck:
            for at, size in self._board.held[model]:
                free[at] -= size
        return free

    def _no_room(self) -> Answer:
        """Say whether others hold the room, or whether there is too little at all."""
        board, question = self._board, self._question
        free = self._at_most()
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


def _victims(
    short: Sequence[tuple[Demand, int]],
    gains: Sequence[Mapping[ModelId, int]],
    cost_of: Callable[[ModelId], float],
) -> list[ModelId]:
    """Return the models to evict for what is *short*; *gains*: what those that may leave hold, device by device.

    All together they hold enough.
    """
    frees: dict[ModelId, list[int]] = {}
    for place, (demand, _) in enumerate(short):
        for at in demand.devices:
            for model, size in gains[at].items():
                frees.setdefault(model, [0] * len(short))[place] += size
    models = list(frees)
    sizes = [size for _, size in short]
    found = cheapest_cover(list(map(cost_of, models)), list(frees.values()), sizes)
    return [models[at] for at in found or ()]
