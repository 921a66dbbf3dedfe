"""The counters and histograms of the program.

Guarantees: counting is one or two dictionary operations. The number of label values is bounded, so a
client that invents names cannot fill the memory. Loop thread.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from modelswap.observe.usage.usage import TokenSums

DURATIONS: Final = (
    0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0,
)  # fmt: skip
"""Seconds, upper bounds: from a cached embedding to a long generation."""
WAITS: Final = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Seconds, upper bounds: from a free slot to the load of a large model."""
MOST_SERIES: Final = 2000
"""Label combinations: bounds memory and the size of a scrape. More are counted as `OTHER`."""
OTHER: Final = "other"
KINDS: Final = ("prompt", "cached", "generated", "drafted", "accepted")


class Histogram:
    """Counts per bucket and their sum; the last bucket is everything above."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def add_all(self, milliseconds: list[int]) -> None:
        """Add values in ms; equal ones together."""
        bounds, counts = self.bounds, self.counts
        for value, count in Counter(milliseconds).items():
            counts[bisect_left(bounds, value / 1000)] += count
        self.sum += sum(milliseconds) / 1000


class ModelCounters(NamedTuple):
    model: str
    state: str
    in_flight: int
    waiting: int


class RequestSeries:
    __slots__ = ("count", "duration", "ttft")

    def __init__(self) -> None:
        self.count = 0
        self.duration = Histogram(DURATIONS)
        self.ttft: Histogram | None = None

    def add_all(self, durations: list[int]) -> None:
        """Count requests by their durations in ms."""
        self.count += len(durations)
        self.duration.add_all(durations)

    def add_first_byte(self, seconds: float) -> None:
        if self.ttft is None:
            self.ttft = Histogram(DURATIONS)
        self.ttft.add(seconds)


class ModelUsage:
    """Tokens and waiting times of the requests to one model."""

    __slots__ = ("accepted", "cached", "drafted", "generated", "prompt", "waits")

    def __init__(self) -> None:
        self.prompt = 0
        self.cached = 0
        self.generated = 0
        self.drafted = 0
        self.accepted = 0
        self.waits = Histogram(WAITS)

    def add(self, sums: TokenSums) -> None:
        self.prompt += sums.prompt
        self.cached += sums.cached
        self.generated += sums.generated
        self.drafted += sums.drafted
        self.accepted += sums.accepted


class Counters:
    def __init__(self) -> None:
        self.requests: dict[tuple[str, str, int], RequestSeries] = {}
        self._usages: dict[str, ModelUsage] = {}
        self.loads: dict[str, Histogram] = {}
        self.load_failures: dict[str, int] = {}
        self.swaps = 0
        """Starts that evicted another model."""
        self.pulls: dict[str, int] = {}
        """Pulls that ended, by their result: `finished`, `cancelled`, or the class of the failure."""
        self.pulled_bytes = 0
        self.decisions: Counter[tuple[str, str]] = Counter()
        """Decisions that have ended, by who asked and how they ended."""
        self.evictions: Counter[str] = Counter()
        """How often each model had to leave for another."""
        self.connections: Callable[[], int] | None = None
        self.drops: dict[str, Callable[[], int]] = {}
        """Sources of dropped data, and how much each dropped."""

    def series(self, model: str, path: str, status: int) -> RequestSeries:
        """The series of a label combination; `model` must be configured, `""` stands for others."""
        key = model, path, status
        series = self.requests.get(key)
        if series is None:
            if len(self.requests) >= MOST_SERIES:
                key = OTHER, OTHER, status
            series = self.requests.setdefault(key, RequestSeries())
        return series

    def usage(self, model: str) -> ModelUsage:
        usage = self._usages.get(model)
        if usage is None:
            if len(self._usages) >= MOST_SERIES:
                model = OTHER
            usage = self._usages.setdefault(model, ModelUsage())
        return usage

    @property
    def tokens(self) -> dict[tuple[str, str], int]:
        """Tokens by model and kind; without the kinds that are 0."""
        return {
            (model, kind): count
            for model, usage in list(self._usages.items())
            for kind in KINDS
            if (count := getattr(usage, kind)) > 0
        }

    @property
    def waits(self) -> dict[str, Histogram]:
        """How long requests waited for each model; 0 when it was ready."""
        waits = {model: usage.waits for model, usage in list(self._usages.items())}
        return {model: histogram for model, histogram in waits.items() if any(histogram.counts)}

    def loaded(self, model: str, seconds: float) -> None:
        """Count a model that became ready, and how long that took."""
        if model not in self.loads and len(self.loads) >= MOST_SERIES:
            model = OTHER
        self.loads.setdefault(model, Histogram(WAITS)).add(seconds)

    def decided(self, asker: str, ending: str, evicted: Iterable[str]) -> None:
        """Count a decision that has ended."""
        self.decisions[asker, ending] += 1
        for model in evicted:
            is_bounded = model in self.evictions or len(self.evictions) < MOST_SERIES
            self.evictions[model if is_bounded else OTHER] += 1

    def load_failed(self, model: str) -> None:
        self.load_failures[model] = self.load_failures.get(model, 0) + 1
