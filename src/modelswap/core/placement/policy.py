"""Who has to leave so that a model can run.

A policy is a function from facts to an answer. It is asked far more often than swaps happen
(for every arrival that cannot be served at once, and for those that wait after each change), so
it must not log, remember or change anything. It refuses to know about requests, phases or time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from modelswap.core.spec import ModelId


@dataclass(frozen=True, slots=True)
class Evict:
    """These may not run beside the target. Empty: there is room already."""

    models: frozenset[ModelId]
    why: str = field(default="", compare=False)
    """What led to this choice, for the log."""


@dataclass(frozen=True, slots=True)
class NeverFits:
    """No eviction would help; asking again will not either."""

    why: str


Answer = Evict | NeverFits
# `live` is ordered from the least to the most recently used; it may hold the target.
Policy = Callable[[ModelId, Sequence[ModelId]], Answer]

ROOM_ENOUGH = Evict(frozenset())


class GroupRules(Protocol):
    """One group as configured; `config.plan.Group` is one."""

    @property
    def id(self) -> str: ...
    @property
    def members(self) -> Sequence[ModelId]: ...
    @property
    def swap(self) -> bool: ...
    @property
    def exclusive(self) -> bool: ...
    @property
    def persistent(self) -> bool: ...


def groups_policy(groups: Iterable[GroupRules]) -> Policy:
    """Apply the group rules: *swap* inside a group, *exclusive* against others, *persistent* ones stay.

    A model in no group neither disturbs nor is disturbed.
    """
    group_of = {model: group for group in groups for model in group.members}

    def policy(target: ModelId, live: Sequence[ModelId]) -> Answer:
        home = group_of.get(target)
        if home is None:
            return ROOM_ENOUGH
        return Evict(
            frozenset(
                m for m in live if m != target and m in group_of and _must_leave(home, group_of[m])
            )
        )

    return policy


def _must_leave(home: GroupRules, other: GroupRules) -> bool:
    if home.id == other.id:
        return home.swap
    return home.exclusive and not other.persistent


def apart(policy: Policy, address_of: Mapping[ModelId, str]) -> Policy:
    """Let *policy* decide, but never let two models with one address run together.

    `address_of` holds the models that listen at an address of their own; a model that is not in it
    shares none.
    """
    sharers: dict[str, set[ModelId]] = {}
    for model, address in address_of.items():
        sharers.setdefault(address, set()).add(model)
    sharing_with = {
        model: frozenset(sharers[address] - {model})
        for model, address in address_of.items()
        if len(sharers[address]) > 1
    }
    if not sharing_with:
        return policy

    def decide(target: ModelId, live: Sequence[ModelId]) -> Answer:
        answer = policy(target, live)
        others = sharing_with.get(target)
        if others is None or isinstance(answer, NeverFits):
            return answer
        taken = others.intersection(live) - answer.models
        if not taken:
            return answer
        why = f"{', '.join(sorted(taken))} has the same address"
        return Evict(answer.models | taken, "; ".join(filter(None, (answer.why, why))))

    return decide
