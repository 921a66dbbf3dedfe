"""One trace under every scheduler, and the table of all traces."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from bench.scheduling.machine import Tally
from bench.table import aligned, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

OURS: Final = "modelswap"
MOST: Final = 0.7
"""What our waiting may be of the best rival's, on every trace."""


@dataclass(slots=True)
class Comparison:
    """The tallies of one workload: each scheduler's, over the same seeds."""

    name: str
    limit: float
    """Seconds: `maxWait` and one swap, with the longest request that it has to wait for."""
    why: str = ""
    """Why a bound is missed."""
    tallies: dict[str, Tally] = field(default_factory=dict[str, Tally])
    seeds: list[float] = field(default_factory=list[float])
    """The ratio of each seed."""

    def add(self, seed: Mapping[str, Tally]) -> None:
        """Count what became of one seed under every scheduler."""
        for side, tally in seed.items():
            self.tallies.setdefault(side, Tally()).add(tally)
        self.seeds.append(_ratio(seed))

    @property
    def ours(self) -> Tally:
        return self.tallies[OURS]

    @property
    def rivals(self) -> Mapping[str, Tally]:
        return {side: tally for side, tally in self.tallies.items() if side != OURS}

    @property
    def ratio(self) -> float:
        """How many times the waiting of the best rival ours is."""
        return _ratio(self.tallies)

    @property
    def best_longest(self) -> float:
        """The least of the rivals' longest waits, in seconds."""
        return min(tally.longest for tally in self.rivals.values())

    @property
    def verdict(self) -> str:
        is_reached = self.ratio <= MOST and self.ours.longest <= self.limit
        return "ok" if is_reached else "MISS"


def _ratio(tallies: Mapping[str, Tally]) -> float:
    best = min(tally.total for side, tally in tallies.items() if side != OURS)
    return tallies[OURS].total / best


def render_comparisons(comparisons: Iterable[Comparison]) -> str:
    """One Markdown table: per cell total waiting, longest wait, loads, share of time in which a model loads or stops."""
    found = list(comparisons)
    sides = list(found[0].tallies)
    rows = [
        [
            "trace",
            "requests",
            *sides,
            "x the best",
            "to reach",
            "longest wait to reach (of the others)",
            "",
        ]
    ]
    rows += [
        [
            one.name,
            f"{len(one.ours.waits):,}",
            *(_cell(one.tallies[side]) for side in sides),
            f"{one.ratio:.2f} ({min(one.seeds):.2f} to {max(one.seeds):.2f})",
            f"≤ {MOST:g}",
            f"≤ {one.limit:.0f} s ({one.best_longest:.0f} s)",
            one.verdict,
        ]
        for one in found
    ]
    reasons = "\n".join(f"- {one.name}: {one.why}." for one in found if one.why)
    return f"{aligned(rows)}\n\n{HOW}\n{reasons}"


HOW: Final = (
    "A cell: seconds that requests waited until a server had them, all together; the longest wait; loads; share"
    " of the time in which a model loads or stops. In brackets behind the ratio: the least and the most of the seeds."
    " The longest wait to reach: the largest default of `maxWait`, the slowest swap, and the longest request that it may"
    " have to wait for; in brackets the least of the others' longest waits. Why a bound is missed:"
)


def _cell(tally: Tally) -> str:
    return f"{shown(tally.total)} s, {tally.longest:.0f} s, {tally.loads:,}, {tally.share:.0%}"
