"""Counts requests and model starts; makes the text of `/metrics`.

Guarantees: counting costs a few dictionary operations on the loop. The text is made in a thread, and
prometheus_client is loaded at the first scrape.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from .counters import Counters, ModelCounters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from modelswap.observe.usage.usage import Tokens

    from .performance import GpuSample, HostSample

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_NOT_FOUND: Final = 404  # HTTP status


class CountedRequest(Protocol):
    @property
    def model(self) -> str: ...
    @property
    def recorded_path(self) -> str: ...
    @property
    def status(self) -> int: ...
    @property
    def stream(self) -> bool: ...
    @property
    def tokens(self) -> Tokens: ...
    @property
    def queue_ms(self) -> int: ...  # -1 for a request that was not admitted


class Metrics:
    def __init__(self, *, version: str = "") -> None:
        self._version = version
        self.counters = Counters()
        self._starting: dict[str, float] = {}
        self._stopped: str | None = None
        """The last model that was stopped since the last start."""

    def watch_drops(self, **where: Callable[[], int]) -> None:
        """Add sources of dropped data: a name, and a function that returns how much was dropped."""
        self.counters.drops.update(where)

    def requests(self, completed: Iterable[CountedRequest]) -> None:  # noqa: C901 - a call costs more
        counters = self.counters
        model = path = status = series = usage = None
        durations: list[float] = []
        """Of one series, in a row: they are added together."""
        for request in completed:
            queue_ms = request.queue_ms
            if (
                series is None
                or usage is None
                or request.status != status
                or request.model != model
                or request.recorded_path != path
                or queue_ms < 0
            ):
                if series is not None:
                    series.add_all(durations)
                    durations.clear()
                model, path, status = request.model, request.recorded_path, request.status
                # a name that is not configured is no label
                label = "" if status == _NOT_FOUND and queue_ms < 0 else model
                series, usage = counters.series(label, path, status), counters.usage(label)
            tokens = request.tokens
            durations.append(tokens.duration_ms / 1000)
            if request.stream and tokens.ttft_ms >= 0:
                series.add_first_byte(tokens.ttft_ms / 1000)
            if not queue_ms:  # the usual case: the model was ready
                usage.waits.counts[0] += 1
            elif queue_ms > 0:
                usage.waits.add(queue_ms / 1000)
            if tokens.input > 0:
                usage.prompt += tokens.input
            if tokens.output > 0:
                usage.generated += tokens.output
            if tokens.cached > 0:
                usage.cached += tokens.cached
            if tokens.drafted > 0:
                usage.drafted += tokens.drafted
                usage.accepted += max(tokens.accepted, 0)
        if series is not None:
            series.add_all(durations)

    def phase(self, model: str, state: str, now: float, *, failed: bool = False) -> None:
        """A model is now starting, ready, stopping or stopped.

        `failed`: a load that is stopped took too long; otherwise it was cancelled.
        """
        began = self._starting.pop(model, None)
        match state:
            case "starting":
                self._starting[model] = now if began is None else began
                if self._stopped is not None and self._stopped != model:
                    self.counters.swaps += 1
                self._stopped = None
            case "ready" if began is not None:
                self.counters.loaded(model, now - began)
            case "stopping" if began is None or not failed:
                self._stopped = model
            case "stopping" | "stopped" if began is not None:
                self.counters.load_failed(model)
            case _:
                pass

    def text(
        self,
        states: Iterable[ModelCounters],
        host: HostSample | None,
        gpus: list[GpuSample],
        *,
        in_flight: int,
    ) -> bytes:
        """Make the text. Not for the loop's thread."""
        from .exposition import Scrape  # noqa: PLC0415 -- loaded at the first scrape

        return Scrape(self.counters, list(states), host, gpus, self._version, in_flight).text()
