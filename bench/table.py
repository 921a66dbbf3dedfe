"""Figures, what they should reach, and the one table."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass(slots=True)
class Figure:
    """One line of the table: a value per side and per round, and a bound on modelswap's.

    `ratio` bounds modelswap by nginx, `most` bounds modelswap itself, `above` bounds
    modelswap less direct, `exactly` is what it must equal. Ratios and differences are those of each
    round, whose sides are measured one after the other; their median counts.
    """

    name: str
    unit: str
    ratio: float | None = None
    most: float | None = None
    above: float | None = None
    exactly: float | None = None
    is_only_raised: bool = False
    """Other work of the machine can only make it larger: the lowest round is shown too."""
    samples: dict[str, list[float]] = field(default_factory=dict)

    def add(self, side: str, value: float) -> None:
        self.samples.setdefault(side, []).append(value)

    def value(self, side: str) -> float | None:
        return median(self.samples.get(side))

    def lowest(self, side: str) -> float | None:
        found = self.samples.get(side)
        return min(found) if found and self.is_only_raised else None

    @property
    def reach(self) -> str:
        bounds = (
            "" if self.ratio is None else f"≤ {self.ratio:g} x nginx",
            "" if self.above is None else f"≤ direct + {self.above:g} {self.unit}",
            "" if self.most is None else f"≤ {self.most:g} {self.unit}",
            "" if self.exactly is None else f"= {self.exactly:g}",
        )
        return ", ".join(filter(None, bounds))

    @property
    def against_nginx(self) -> float | None:
        """How many times nginx's, as the median of the rounds; None where nginx's is 0."""
        return ratio(self.samples.get("modelswap"), self.samples.get("nginx"))

    @property
    def above_direct(self) -> float | None:
        """How much more than direct, as the median of the rounds; only where that has a bound."""
        if self.above is None:
            return None
        return difference(self.samples.get("modelswap"), self.samples.get("direct"))

    @property
    def verdict(self) -> str:
        """`ok`, `MISS`, or nothing where no bound is set."""
        if not self.reach:
            return ""
        ours = self.value("modelswap")
        bounds = (
            (self.against_nginx, self.ratio),
            (self.above_direct, self.above),
            (ours, self.most),
        )
        return judged(bounds) if self.exactly in {None, ours} else "MISS"


def median(values: Sequence[float] | None) -> float | None:
    return statistics.median(values) if values else None


def ratio(ours: Sequence[float] | None, theirs: Sequence[float] | None) -> float | None:
    """How many times theirs ours is, as the median of the rounds; None where one of theirs is 0."""
    if not theirs or not all(theirs):
        return None
    return median([our / their for our, their in zip(ours or (), theirs, strict=True)])


def difference(ours: Sequence[float] | None, theirs: Sequence[float] | None) -> float | None:
    """How much more than theirs ours is, as the median of the rounds."""
    if not theirs:
        return None
    return median([our - their for our, their in zip(ours or (), theirs, strict=True)])


def judged(bounds: Iterable[tuple[float | None, float | None]]) -> str:
    """Return `ok` when every value is within its bound; what was not measured is a miss."""
    is_reached = all(
        bound is None or (value is not None and value <= bound) for value, bound in bounds
    )
    return "ok" if is_reached else "MISS"


SIDES: Final = ("direct", "nginx", "modelswap")


def render(figures: list[Figure]) -> str:
    """The figures as a Markdown table with aligned columns."""
    rows = [["figure", "unit", *SIDES, "beside", "to reach", ""]]
    for figure in figures:
        values = [_cell(figure, side) for side in SIDES]
        rows.append(
            [figure.name, figure.unit, *values, beside(figure), figure.reach, figure.verdict]
        )
    return aligned(rows)


def beside(figure: Figure) -> str:
    """How many times nginx's the figure is; where a bound is set on it, how much more than direct."""
    if figure.above_direct is not None:
        return f"{figure.above_direct:+.2f}"
    return "-" if figure.against_nginx is None else f"{figure.against_nginx:.2f} x"


def _cell(figure: Figure, side: str) -> str:
    """The median, and the lowest round in brackets."""
    lowest = figure.lowest(side)
    median = shown(figure.value(side))
    return median if lowest is None else f"{median} ({shown(lowest)})"


def aligned(rows: list[list[str]]) -> str:
    """Rows as a Markdown table; the first one is its head."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    ruled = [rows[0], ["-" * width for width in widths], *rows[1:]]
    lines = (
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |"
        for row in ruled
    )
    return "\n".join(lines)


def shown(value: float | None) -> str:
    """A value with as many digits as say something."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
