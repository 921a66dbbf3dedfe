"""A cost at several sizes, and how much it may grow from the smallest to the largest."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.table import aligned, difference, judged, median, ratio, shown

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
        return median(self.samples.get(size))

    @property
    def sizes(self) -> list[int]:
        return sorted(self.samples)

    @property
    def _ends(self) -> tuple[list[float], list[float]]:
        """The values at the largest and at the smallest size; none while there is one size."""
        sizes = self.sizes
        return (self.samples[sizes[-1]], self.samples[sizes[0]]) if len(sizes) > 1 else ([], [])

    @property
    def factor(self) -> float | None:
        """How many times the smallest the largest is."""
        return ratio(*self._ends)

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
            (difference(*self._ends), self.above),
            (median(self._ends[0]), self.most),
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
