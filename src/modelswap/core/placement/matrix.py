"""The matrix: which models may run together, as set expressions over model names.

An expression is a list of model sets: a name is one set of one model, `|` joins lists, `&` is every
union of one choice per side, `+x` is the list of set x. A set permits all its subsets.

Guarantees: a request for a model gets the choice of least eviction cost, among equals the one that
evicts the least recently used. Choices are projected on the models that run; beyond `STATES` and
`WORK` a greedy search decides (still exact where the sides of `&` share no running model).
"""

from __future__ import annotations

from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Final, assert_never

from modelswap.deferred import dataclass

from .expressions import Both, Either, Leaf, Node, Ref, names_in, read_sets
from .policy import NO_EVICTIONS, stop

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from modelswap.core.spec import ModelId

    from .policy import PlacementPlan, Policy, Question

STATES: Final = 10_000
"""Choices kept for one expression before the greedy search takes over: about a megabyte."""
WORK: Final = 100_000
"""Steps of one search before the greedy search takes over: some ten milliseconds."""
TIES: Final = 256
"""Equally cheap choices that are compared by use: some ten microseconds, and 1024 searches are kept."""
_USUAL_COST: Final = 1
"""The eviction cost of a model without a configured one."""
_LONGEST: Final = 200
"""Characters of an expression in the log."""


class _TooMuchError(Exception):
    """The search is over its bound; caught where the greedy search takes over."""


@dataclass(frozen=True, slots=True, eq=False)
class Compiled:
    """Sets in the order in which they are searched: referenced ones come first."""

    sets: Mapping[str, Node]
    mentions: Mapping[str, frozenset[ModelId]]
    costs: Mapping[ModelId, int]
    texts: Mapping[str, str]
    """The sets as they were written, for the log."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The result of one search; `set` is `None` when the target is in no set."""

    set: str | None
    evict: frozenset[ModelId]
    cost: int
    is_exact: bool = True


def compile_matrix(
    *,
    models: Collection[ModelId],
    variables: Mapping[str, ModelId],
    sets: Mapping[str, str],
    costs: Mapping[ModelId, int],
) -> Compiled:
    """Parse all sets; a var wins over a model of the same name.

    Raises:
        MatrixError: with every problem of every set.
    """
    names: dict[str, ModelId] = {model: model for model in models} | dict(variables)
    return _compiled(read_sets(sets, names), costs, sets)


def _compiled(
    sets: Mapping[str, Node], costs: Mapping[ModelId, int], texts: Mapping[str, str]
) -> Compiled:
    mentions: dict[str, frozenset[ModelId]] = {}
    for name, node in sets.items():
        found = ({n.model} if isinstance(n, Leaf) else mentions[n.name] for n in names_in(node))
        mentions[name] = frozenset(chain.from_iterable(found))
    return Compiled(sets, mentions, costs, texts)


class _Search:
    """Projects choices on one target and what runs: a choice is a mask of their bits."""

    def __init__(
        self, compiled: Compiled, bits: Mapping[ModelId, int], values: Sequence[int]
    ) -> None:
        self._compiled = compiled
        self._bits = bits
        self._savings = _by_value(values)
        """What keeping models saves: (value of each, their mask)."""
        self._known: dict[str, list[int]] = {}
        self._greedy_known: dict[tuple[Node, bool], int | None] = {}
        self._work = 0

    def value(self, mask: int) -> int:
        return sum(value * (mask & bits).bit_count() for value, bits in self._savings)

    def choices(self, node: Node) -> list[int]:
        """Return every choice that is not contained in another, in search order."""
        match node:
            case Leaf(model):
                return [self._bits.get(model, 0)]
            case Ref(name):
                if name not in self._known:
                    self._known[name] = self.choices(self._compiled.sets[name])
                return self._known[name]
            case Either(parts):
                kept: list[int] = []
                for part in parts:
                    for mask in self.choices(part):
                        self._keep(kept, mask)
                return kept
            case Both(parts):
                left = self.choices(parts[0])
                for part in parts[1:]:
                    left = self._unions(left, self.choices(part))
                return left
            case _ as never:
                assert_never(never)

    def _unions(self, left: list[int], right: list[int]) -> list[int]:
        if right == [0]:
            return left
        if left == [0]:
            return right
        if _span(left) & _span(right) == 0:
            # Nothing in common: no union can contain another.
            self._spend(len(left) * len(right))
            return [one | other for one in left for other in right]
        kept: list[int] = []
        for one in left:
            for other in right:
                self._keep(kept, one | other)
        return kept

    def _keep(self, kept: list[int], mask: int) -> None:
        """Add a choice; the larger one replaces those that it contains, at the end."""
        self._spend(len(kept) + 1)
        if any(mask & other == mask for other in kept):
            return
        kept[:] = [other for other in kept if other & mask != other]
        kept.append(mask)
        if len(kept) > STATES:
            raise _TooMuchError

    def _spend(self, steps: int) -> None:
        self._work += steps
        if self._work > WORK:
            raise _TooMuchError

    def greedy(self, node: Node, *, target: bool) -> int | None:
        """Return a good choice, with the target in it if wanted; `None`: there is none with it.

        Each side of `&` chooses alone, so only what two sides share can be missed.
        """
        key = (node, target)
        if key not in self._greedy_known:
            self._greedy_known[key] = self._greedy(node, target=target)
        return self._greedy_known[key]

    def _greedy(self, node: Node, *, target: bool) -> int | None:
        match node:
            case Leaf(model):
                mask = self._bits.get(model, 0)
                return mask if mask & 1 or not target else None
            case Ref(name):
                return self.greedy(self._compiled.sets[name], target=target)
            case Either(parts):
                return self._best([self.greedy(part, target=target) for part in parts])
            case Both(parts):
                return self._greedy_union(parts, target=target)
            case _ as never:
                assert_never(never)

    def _greedy_union(self, parts: Sequence[Node], *, target: bool) -> int | None:
        free = [self.greedy(part, target=False) or 0 for part in parts]
        if not target:
            return _span(free)
        candidates: list[int | None] = []
        for at, part in enumerate(parts):
            carrier = self.greedy(part, target=True)
            rest = _span([*free[:at], *free[at + 1 :]])
            candidates.append(None if carrier is None else carrier | rest)
        return self._best(candidates)

    def _best(self, masks: Iterable[int | None]) -> int | None:
        """Take the mask that saves most; among equals, the higher bits were used more recently."""
        found = [mask for mask in masks if mask is not None]
        return max(found, key=lambda mask: (self.value(mask), mask >> 1), default=None)


def _by_value(values: Sequence[int]) -> tuple[tuple[int, int], ...]:
    masks: dict[int, int] = {}
    for bit, value in enumerate(values):
        masks[value] = masks.get(value, 0) | 1 << bit
    return tuple(masks.items())


def _span(masks: Iterable[int]) -> int:
    union = 0
    for mask in masks:
        union |= mask
    return union


@dataclass(frozen=True, slots=True)
class _Cheapest:
    """The part of a result that does not depend on when which model was used."""

    cost: int
    choices: tuple[tuple[str, frozenset[ModelId]], ...]
    """The equally cheap ones: set and victims; in search order, at most `TIES`."""
    unfinished: tuple[str, ...]
    """Sets whose search went over its bound."""


def choose(compiled: Compiled, target: ModelId, live: Collection[ModelId]) -> Choice:
    """Choose what has to leave for `target` at the least cost.

    `live` is ordered from the least to the most recently used. Among equally cheap choices, the
    one whose most recently used victim was used longest ago; then the first one found.
    """
    others = [model for model in dict.fromkeys(live) if model != target]
    if target in live or not others:
        return Choice(None, frozenset(), 0)
    return _least_recent(compiled, target, others, _cheapest(compiled, target, others))


def _cheapest(compiled: Compiled, target: ModelId, live: Iterable[ModelId]) -> _Cheapest:
    others = sorted(live)
    search, total = _search(compiled, target, others)
    cost = total
    found: dict[int, str] = {}
    unfinished: list[str] = []
    for name in compiled.sets:
        if target not in compiled.mentions[name]:
            continue
        try:
            masks = [mask for mask in search.choices(Ref(name)) if mask & 1]
        except _TooMuchError:
            unfinished.append(name)
            continue
        for mask in masks:
            costs = total - search.value(mask)
            if not found or costs < cost:
                cost, found = costs, {mask: name}
            elif costs == cost and len(found) < TIES:
                found.setdefault(mask, name)
    choices = tuple((name, _victims(others, mask)) for mask, name in found.items())
    return _Cheapest(cost, choices, tuple(unfinished))


def _search(compiled: Compiled, target: ModelId, others: Sequence[ModelId]) -> tuple[_Search, int]:
    """Make a search with bits in the order of `others`; return their total cost too."""
    bits = {target: 1} | {model: 2 << at for at, model in enumerate(others)}
    values = [0, *(compiled.costs.get(model, _USUAL_COST) for model in others)]
    return _Search(compiled, bits, values), sum(values)


def _victims(others: Sequence[ModelId], mask: int) -> frozenset[ModelId]:
    return frozenset(model for at, model in enumerate(others) if not mask & 2 << at)


def _least_recent(
    compiled: Compiled, target: ModelId, others: Sequence[ModelId], found: _Cheapest
) -> Choice:
    """Take the choice that evicts the least recently used; `others` are in that order."""
    is_exact = not found.unfinished
    candidates = [Choice(name, evict, found.cost, is_exact) for name, evict in found.choices]
    if found.unfinished:
        search, total = _search(compiled, target, others)
        for name in found.unfinished:
            mask = search.greedy(Ref(name), target=True)
            if mask is not None:
                cost = total - search.value(mask)
                candidates.append(Choice(name, _victims(others, mask), cost, is_exact))
    if not candidates:
        costs = [compiled.costs.get(model, _USUAL_COST) for model in others]
        return Choice(None, frozenset(others), sum(costs))
    if len(candidates) == 1:
        return candidates[0]
    weight = {model: 1 << at for at, model in enumerate(others)}
    return min(candidates, key=lambda one: (one.cost, sum(weight[m] for m in one.evict)))


def warnings(compiled: Compiled) -> list[str]:
    """Warn of each set whose search can go over its bound when all its models run."""
    found: list[str] = []
    for name, models in compiled.mentions.items():
        bits = {model: 1 << at for at, model in enumerate(sorted(models))}
        try:
            _Search(compiled, bits, [1] * len(bits)).choices(Ref(name))
        except _TooMuchError:
            found.append(
                f"matrix set {name!r} allows so many combinations that the cheapest one cannot "
                "always be found in time; a good one is taken then. Fewer alternatives joined by '&' help."
            )
    return found


def matrix_policy(compiled: Compiled) -> Policy:
    """Let models run together as the sets permit; a model in no set runs alone."""

    @lru_cache(maxsize=1024)
    def cheapest(target: ModelId, live: frozenset[ModelId]) -> _Cheapest:
        return _cheapest(compiled, target, live)

    @lru_cache(maxsize=1024)
    def plan_of(choice: Choice) -> PlacementPlan:
        return stop(choice.evict, _reason(compiled, choice))

    def policy(question: Question) -> PlacementPlan:
        target = question.target
        others = [model for model in question.live if model != target]
        if not others or target in question.live:
            return NO_EVICTIONS
        found = cheapest(target, frozenset(others))
        return plan_of(_least_recent(compiled, target, others, found))

    return policy


def _reason(compiled: Compiled, choice: Choice) -> str:
    """Return the reason in one line for the log; empty without victims."""
    if not choice.evict:
        return ""
    if choice.set is None:
        return f"in no set, cost {choice.cost}"
    text = " ".join(compiled.texts[choice.set].split())
    shown = text if len(text) <= _LONGEST else text[:_LONGEST] + "..."
    return f'set "{choice.set}": {shown}, cost {choice.cost}'


def legacy_profiles_policy(profiles: Mapping[str, Sequence[ModelId]]) -> Policy:
    """Let the members of one early-form profile run together; any other model runs alone."""
    sets: dict[str, Node] = {
        name: Both(tuple(Leaf(model) for model in members))
        for name, members in profiles.items()
        if members
    }
    texts = {name: " & ".join(members) for name, members in profiles.items()}
    return matrix_policy(_compiled(sets, {}, texts))
