"""Groups: models that swap with each other, or exclude the members of other groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from .policy import NO_EVICTIONS, PlacementPlan, Question, stop

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from modelswap.core.spec import ModelId

    from .policy import Policy


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

    A model in no group evicts no model and is not evicted.
    """
    group_of = {model: group for group in groups for model in group.members}

    def policy(question: Question) -> PlacementPlan:
        target = question.target
        group = group_of.get(target)
        if group is None:
            return NO_EVICTIONS
        others = [m for m in question.live if m != target and m in group_of]
        leaving = frozenset(m for m in others if _must_leave(group, group_of[m]))
        return stop(leaving, _reason(group, leaving)) if leaving else NO_EVICTIONS

    return policy


def _reason(group: GroupRules, leaving: Iterable[ModelId]) -> str:
    """Return the rules that make models leave, in one line for the log."""
    inside = set(group.members)
    rules = {
        "runs one model at a time" if model in inside else "runs beside no other group"
        for model in leaving
    }
    return f'group "{group.id}" {" and ".join(sorted(rules))}'


def _must_leave(group: GroupRules, other: GroupRules) -> bool:
    return group.swap if group is other else group.exclusive and not other.persistent
