"""The cheapest models whose memory, together, covers every shortage: a covering knapsack.

Guarantees: exact for at most `EXACT` models that could help; beyond, at most twice the optimum for each
shortage. The same question has the same answer.

The approximation is Csirik, Frenk, Labbé and Zhang's (Heuristics for the 0-1 min-knapsack problem, 1991).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

EXACT: Final = 16
"""Models that could help: so many are searched exactly, in far less than a millisecond as a rule."""
MOST_SWAPS: Final = 2000
"""Pairs that are compared to improve an approximation: about a millisecond."""
_EQUAL: Final = 1 - 1e-9
"""A cost is lower when it is so by more than rounding."""


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
    chosen: list[int] = []
    for at, missing in enumerate(short):
        left = missing - sum(frees[i][at] for i in chosen)
        if left > 0:
            rest = [i for i in useful if i not in chosen and frees[i][at]]
            chosen += _cover_one(rest, costs, [freed[at] for freed in frees], left)
    for i in sorted(chosen, key=lambda i: (-costs[i], i)):
        others = [one for one in chosen if one != i]
        if _covers(others, frees, short):
            chosen = others
    if len(chosen) * len(useful) <= MOST_SWAPS:
        _exchange(chosen, useful, costs, frees, short)
    return chosen


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
    for i in sorted(rest, key=lambda i: (costs[i] / frees[i], i)):
        if got + frees[i] < short:
            taken.append(i)
            got += frees[i]
            spent += costs[i]
        elif spent + costs[i] < best_cost:
            best, best_cost = [*taken, i], spent + costs[i]
    return best


def _exchange(
    chosen: list[int],
    useful: Sequence[int],
    costs: Sequence[float],
    frees: Sequence[Sequence[int]],
    short: Sequence[int],
) -> None:
    for at, i in enumerate(chosen):
        for other in sorted(useful, key=lambda i: (costs[i], i)):
            if costs[other] >= costs[i]:
                break
            if other not in chosen and _covers(
                [*chosen[:at], other, *chosen[at + 1 :]], frees, short
            ):
                chosen[at] = other
                break


def _covers(chosen: Sequence[int], frees: Sequence[Sequence[int]], short: Sequence[int]) -> bool:
    return all(sum(frees[i][at] for i in chosen) >= missing for at, missing in enumerate(short))


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
                i,
            ),
        )
        self._costs = [costs[i] for i in self._order]
        self._frees = [tuple(frees[i]) for i in self._order]
        self._tight = [freed[tightest] for freed in self._frees]
        self._tightest = tightest
        self._rest = self._suffix_sums(len(short))
        self._visit(0, 0.0, tuple(short), [])

    def _suffix_sums(self, count: int) -> list[tuple[int, ...]]:
        """Return what the models from each position on free together."""
        sums = [(0,) * count]
        for freed in reversed(self._frees):
            sums.append(tuple(a + b for a, b in zip(sums[-1], freed, strict=True)))
        return sums[::-1]

    def _visit(self, at: int, cost: float, left: tuple[int, ...], chosen: list[int]) -> None:
        if max(left) <= 0:
            if cost < self._best_cost * _EQUAL:
                self.best, self._best_cost = [self._order[i] for i in chosen], cost
            return
        if any(missing > rest for missing, rest in zip(left, self._rest[at], strict=True)):
            return
        if self._bound(at, cost, left[self._tightest]) >= self._best_cost * _EQUAL:
            return
        freed = self._frees[at]
        less = tuple(a - b for a, b in zip(left, freed, strict=True))
        if any(gain for gain, missing in zip(freed, left, strict=True) if missing > 0):
            chosen.append(at)
            self._visit(at + 1, cost + self._costs[at], less, chosen)
            chosen.pop()
        self._visit(at + 1, cost, left, chosen)

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
