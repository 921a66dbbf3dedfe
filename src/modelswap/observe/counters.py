"""What is counted while requests run; `exposition` makes text of it.

Law: counting is one or two dictionary operations. The number of label values
is bounded: a client that invents names cannot fill the memory. Loop thread.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

DURATIONS: Final = (
    0.01,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    120.0,
    300.0,
    600.0,
)
WAITS: Final = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
MOST_SERIES: Final = 2000
OTHER: Final = "other"


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


class ModelState(NamedTuple):
    """What the fleet knows of one model at the moment of a scrape."""

    model: str
    state: str
    in_flight: int
    waiting: int


class Series:
    """Everything that is counted for one model, path and status."""

    __slots__ = ("count", "duration", "ttft")

    def __init__(self) -> None:
        self.count = 0
        self.duration = Histogram(DURATIONS)
        self.ttft: Histogram | None = None


class Counters:
    """The program's counters since its start."""

    def __init__(self) -> None:
        self.requests: dict[tuple[str, str, int], Series] = {}
        self.tokens: dict[tuple[str, str], int] = {}
        self.waits: dict[str, Histogram] = {}
        self.loads: dict[str, Histogram] = {}
        self.load_failures: dict[str, int] = {}
        self.swaps = 0
        self.connections: Callable[[], int] | None = None
        self.drops: dict[str, Callable[[], int]] = {}
        """Where something can be dropped, and how much was."""

    def request(
        self, model: str, path: str, status: int, seconds: float, ttft: float | None
    ) -> None:
        """Count one finished request; `model` must be a configured name, `""` for others."""
        key = model, path, status
        series = self.requests.get(key)
        if series is None:
            if len(self.requests) >= MOST_SERIES:
                key = OTHER, OTHER, status
            series = self.requests.setdefault(key, Series())
        series.count += 1
        series.duration.add(seconds)
        if ttft is not None:
            if series.ttft is None:
                series.ttft = Histogram(DURATIONS)
            series.ttft.add(ttft)

    def token(self, model: str, kind: str, count: int) -> None:
        """Count tokens; kind is prompt, cached, generated, drafted or accepted."""
        if count > 0:
            key = model, kind
            self.tokens[key] = self.tokens.get(key, 0) + count

    def waited(self, model: str, seconds: float) -> None:
        """Count how long a request waited for its model (0 when it was ready)."""
        self._histogram(self.waits, model).add(seconds)

    def loaded(self, model: str, seconds: float) -> None:
        """Count a model that became ready, and how long that took."""
        self._histogram(self.loads, model).add(seconds)

    def load_failed(self, model: str) -> None:
        self.load_failures[model] = self.load_failures.get(model, 0) + 1

    def swapped(self) -> None:
        """Count a start that made another model leave."""
        self.swaps += 1

    @staticmethod
    def _histogram(of: dict[str, Histogram], model: str) -> Histogram:
        histogram = of.get(model)
        if histogram is None:
            if len(of) >= MOST_SERIES:
                model = OTHER
            histogram = of.setdefault(model, Histogram(WAITS))
        return histogram
