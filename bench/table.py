"""Figures, what they should reach, and the one table."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field


@dataclass(slots=True)
class Figure:
    """One line of the table: a value per side and per round, and a bound on modelswap's.

    `ratio` bounds modelswap by nginx, `most` bounds modelswap itself, `above` bounds
    modelswap less direct, `exactly` is what it must equal.
    """

    name: str
    unit: str
    ratio: float | None = None
    most: float | None = None
    above: float | None = None
    exactly: float | None = None
    samples: dict[str, list[float]] = field(default_factory=dict)

    def add(self, side: str, value: float) -> None:
        self.samples.setdefault(side, []).append(value)

    def value(self, side: str) -> float | None:
        found = self.samples.get(side)
        return statistics.median(found) if found else None

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
        ours, theirs = self.value("modelswap"), self.value("nginx")
        return ours / theirs if ours is not None and theirs else None

    @property
    def verdict(self) -> str:
        """`ok`, `MISS`, or nothing where no bound is set."""
        if not self.reach:
            return ""
        ours, direct = self.value("modelswap"), self.value("direct")
        if ours is None:
            return "MISS"
        tests = (
            self.ratio is None or (self.against_nginx or float("inf")) <= self.ratio,
            self.most is None or ours <= self.most,
            self.above is None or (direct is not None and ours - direct <= self.above),
            self.exactly is None or ours == self.exactly,
        )
        return "ok" if all(tests) else "MISS"


def render(figures: list[Figure]) -> str:
    """The figures as a Markdown table with aligned columns."""
    rows = [["figure", "unit", "direct", "nginx", "modelswap", "÷ nginx", "to reach", ""]]
    for figure in figures:
        values = [shown(figure.value(side)) for side in ("direct", "nginx", "modelswap")]
        ratio = shown(figure.against_nginx)
        rows.append([figure.name, figure.unit, *values, ratio, figure.reach, figure.verdict])
    return aligned(rows)


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
