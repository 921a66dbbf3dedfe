"""A cost at several sizes, and how much it may grow from the smallest to the largest."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.table import aligned, judged, shown

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(slots=True)
class Curve:
    """One line of the tables of growth.

    `flat`: the largest size may cost so many times what the smallest does. `most`: what the largest
    may cost, for a cost that grows with the size because its answer does. `above`: what the largest
    may cost more than the smallest.
    """

    axis: str
    """What there is more of: models, idle connections, activity rows, waiting requests."""
    name: str
    unit: str
    flat: float | None = None
    most: float | None = None
    above: float | None = None
    samples: dict[int, list[float]] = field(default_factory=dict)

    def add(self, size: int, value: float) -> None:
        self.samples.setdefault(size, []).append(value)

    def value(self, size: int) -> float | None:
        found = self.samples.get(size)
        return statistics.median(found) if found else None

    @property
    def sizes(self) -> list[int]:
        return sorted(self.samples)

    def _rounds(self) -> list[tuple[float, float]]:
        """Return the values at the smallest and the largest size, of each round."""
        sizes = self.sizes
        if len(sizes) < 2:
            return []
        return list(zip(self.samples[sizes[0]], self.samples[sizes[-1]], strict=True))

    @property
    def factor(self) -> float | None:
        """How many times the smallest the largest is, as the median of the rounds; None where it is 0."""
        rounds = self._rounds()
        if not rounds or not all(small for small, _ in rounds):
            return None
        return statistics.median(large / small for small, large in rounds)

    @property
    def difference(self) -> float | None:
        """How much more than the smallest the largest is, as the median of the rounds."""
        rounds = self._rounds()
        return statistics.median(large - small for small, large in rounds) if rounds else None

    @property
    def reach(self) -> str:
        bounds = (
            "" if self.flat is None else f"≤ {self.flat:g} x the smallest",
            "" if self.above is None else f"≤ the smallest + {self.above:g} {self.unit}",
            "" if self.most is None else f"≤ {self.most:g} {self.unit}",
        )
        return ", ".join(filter(None, bounds))

    @property
    def verdict(self) -> str:
        """`ok`, `MISS`, or nothing where no bound is set."""
        if not self.reach:
            return ""
        bounds = (
            (self.factor, self.flat),
            (self.difference, self.above),
            (self.value(self.sizes[-1]) if len(self.sizes) > 1 else None, self.most),
        )
        return judged(bounds)


def render_curves(curves: Iterable[Curve]) -> str:
    """One Markdown table for each axis, with a column for each size."""
    axes: dict[str, list[Curve]] = {}
    for curve in curves:
        axes.setdefault(curve.axis, []).append(curve)
    return "\n\n".join(_table(axis, group) for axis, group in axes.items())


def _table(axis: str, curves: list[Curve]) -> str:
    sizes = sorted({size for curve in curves for size in curve.samples})
    rows = [[f"by {axis}", "unit", *(f"{size:,}" for size in sizes), "growth", "to reach", ""]]
    for curve in curves:
        values = [shown(curve.value(size)) for size in sizes]
        factor = "-" if curve.factor is None else f"{shown(curve.factor)} x"
        rows.append([curve.name, curve.unit, *values, factor, curve.reach, curve.verdict])
    return aligned(rows)
