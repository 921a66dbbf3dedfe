"""The cheapest models whose memory, together, covers every shortage: a covering knapsack.

Guarantees: for at most `EXACT` models that could help, no other set costs less by more than `MARGIN`,
unless the search for it takes more than `MOST_STEPS`; else at most twice the least cost for each shortage.
The same question has the same answer.

The approximation is Csirik, Frenk, Labbé and Zhang's (Heuristics for the 0-1 min-knapsack problem, 1991).
"""

from __future__ import annotations

from operator import le, sub
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

EXACT: Final = 16
"""Models that could help: so many are searched, in far less than a millisecond as a rule."""
MOST_SWAPS: Final = 500
"""Pairs that are compared to improve an approximation: a quarter of a millisecond."""
MARGIN: Final = 0.01
"""A part of the cost: costs are estimates, and to tell sets apart that are closer takes a hundred times as long."""
MOST_STEPS: Final = 500
"""A millisecond: enough but for many models of nearly equal cost that are short on two devices in unlike ways."""


def cheapest_cover(
    costs: Sequence[float], frees: Sequence[Sequence[int]], short: Sequence[int]
) -> list[int] | None:
    """Return the positions of the models to evict; `None`: all together are not enough.

    Args:
        costs: of each model, more than 0.
        frees: of each model, the bytes that it frees for each shortage.
        short: the bytes that are missing, each more than 0.
    """
    useful = [i for i, freed in enumerate(frees) if any(freed)]
    if not _covers(useful, frees, short):
        return None
    found = approximate_cover(useful, costs, frees, short)
    if len(useful) <= EXACT:
        found = _Search(useful, costs, frees, short, found).best
    return sorted(found)


def approximate_cover(
    useful: Sequence[int],
    costs: Sequence[float],
    frees: Sequence[Sequence[int]],
    short: Sequence[int],
) -> list[int]:
    """Cover one shortage after the other, then drop and exchange what a cheaper model makes needless."""
    chosen: set[int] = set()
    for at, missing in enumerate(short):
        left = missing - sum(frees[i][at] for i in chosen)
        if left > 0:
            rest = [i for i in useful if frees[i][at] and i not in chosen]
            chosen.update(_cover_one(rest, costs, [freed[at] for freed in frees], left))
    spare = [sum([frees[i][at] for i in chosen]) - missing for at, missing in enumerate(short)]
    spare = _drop_needless(chosen, costs, frees, spare)
    if len(chosen) * len(useful) <= MOST_SWAPS:
        spare = _exchange(chosen, useful, costs, frees, spare)
        _drop_needless(chosen, costs, frees, spare)  # those that came may free more
    return sorted(chosen)


def _drop_needless(
    chosen: set[int], costs: Sequence[float], frees: Sequence[Sequence[int]], spare: list[int]
) -> list[int]:
    """Drop each model without which the others cover everything, the dearest first; return what is spare then."""
    for i in _dearest_first(chosen, costs):
        if all(map(le, frees[i], spare)):
            chosen.remove(i)
            spare = list(map(sub, spare, frees[i]))
    return spare


def _dearest_first(chosen: Iterable[int], costs: Sequence[float]) -> list[int]:
    return sorted(sorted(chosen), key=costs.__getitem__, reverse=True)


def _cover_one(
    rest: Sequence[int], costs: Sequence[float], frees: Sequence[int], short: int
) -> list[int]:
    """Cover one shortage at no more than twice the least cost.

    Models are taken by cost per byte. One that would complete the cover ends a solution, is put aside,
    and the search goes on without it.
    """
    taken: list[int] = []
    got, spent = 0, 0.0
    best: list[int] = []
    best_cost = float("inf")
    for i in sorted(rest, key=lambda i: costs[i] / frees[i]):
        if got + frees[i] < short:
            taken.append(i)
            got += frees[i]
            spent += costs[i]
        elif spent + costs[i] < best_cost:
            best, best_cost = [*taken, i], spent + costs[i]
    return best


def _exchange(
    chosen: set[int],
    useful: Sequence[int],
    costs: Sequence[float],
    frees: Sequence[Sequence[int]],
    spare: list[int],
) -> list[int]:
    """Put the cheapest model in the place of each dearer one that it can stand for; return what is spare then."""
    by_cost = sorted(useful, key=lambda i: (costs[i], i))
    for i in _dearest_first(chosen, costs):
        for other in by_cost[: by_cost.index(i)]:
            pairs = zip(spare, frees[other], frees[i], strict=True)
            left = [more + gained - lost for more, gained, lost in pairs]
            if other not in chosen and min(left) >= 0:
                chosen.remove(i)
                chosen.add(other)
                spare = left
                break
    return spare


def _covers(chosen: Sequence[int], frees: Sequence[Sequence[int]], short: Sequence[int]) -> bool:
    return all(sum([frees[i][at] for i in chosen]) >= missing for at, missing in enumerate(short))


class _Search:
    """Branch and bound, by cost per byte of the tightest shortage, with its fractional cover as bound."""

    def __init__(
        self,
        useful: Sequence[int],
        costs: Sequence[float],
        frees: Sequence[Sequence[int]],
        short: Sequence[int],
        first: list[int],
    ) -> None:
        self.best = first
        self._best_cost = sum(costs[i] for i in first)
        tightest = max(
            range(len(short)), key=lambda at: short[at] / sum(frees[i][at] for i in useful)
        )
        self._order = sorted(
            useful,
            key=lambda i: (
                costs[i] / frees[i][tightest] if frees[i][tightest] else float("inf"),
                costs[i],
                tuple(frees[i]),
                i,
            ),
        )
        self._costs = [costs[i] for i in self._order]
        self._frees = [tuple(frees[i]) for i in self._order]
        self._tight = [freed[tightest] for freed in self._frees]
        self._tightest = tightest
        self._rest = self._suffix_sums(len(short))
        self._other = self._next_others()
        self._steps = 0
        self._visit(0, 0.0, tuple(short), [])

    def _suffix_sums(self, count: int) -> list[tuple[int, ...]]:
        """Return what the models from each position on free together."""
        sums = [(0,) * count]
        for freed in reversed(self._frees):
            sums.append(tuple(a + b for a, b in zip(sums[-1], freed, strict=True)))
        return sums[::-1]

    def _next_others(self) -> list[int]:
        """Return for each position the next model that is not its equal: without one, none of them."""
        found = [len(self._order)] * len(self._order)
        for at in range(len(found) - 2, -1, -1):
            is_equal = (
                self._costs[at] == self._costs[at + 1] and self._frees[at] == self._frees[at + 1]
            )
            found[at] = found[at + 1] if is_equal else at + 1
        return found

    def _visit(self, at: int, cost: float, left: tuple[int, ...], chosen: list[int]) -> None:
        self._steps += 1
        if max(left) <= 0:
            if cost < self._best_cost:
                self.best, self._best_cost = [self._order[i] for i in chosen], cost
            return
        if any(missing > rest for missing, rest in zip(left, self._rest[at], strict=True)):
            return
        least = self._bound(at, cost, left[self._tightest])
        if self._steps > MOST_STEPS or least >= self._best_cost * (1 - MARGIN):
            return
        freed = self._frees[at]
        less = tuple(a - b for a, b in zip(left, freed, strict=True))
        if any(gain for gain, missing in zip(freed, left, strict=True) if missing > 0):
            chosen.append(at)
            self._visit(at + 1, cost + self._costs[at], less, chosen)
            chosen.pop()
        self._visit(self._other[at], cost, left, chosen)

    def _bound(self, at: int, cost: float, missing: int) -> float:
        """Return the least cost of any cover below here, if models could be evicted in parts."""
        while missing > 0 and at < len(self._tight):
            freed = self._tight[at]
            if freed >= missing:
                return cost + self._costs[at] * missing / freed
            cost += self._costs[at]
            missing -= freed
            at += 1
        return cost
