"""Counts requests and model starts; makes the text of `/metrics`.

Guarantees: counting costs a few dictionary operations on the loop. The text is made in a thread, and
prometheus_client is loaded at the first scrape.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from modelswap.observe.usage.usage import add_up

from .counters import Counters, ModelCounters, ModelUsage, RequestSeries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from modelswap.observe.decisions.decision import Decision
    from modelswap.observe.usage.usage import CommonBody, Tokens

    from .performance import GpuSample, HostSample

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_NOT_FOUND: Final = 404  # HTTP status


class _Resolved(Protocol):
    @property
    def model(self) -> str: ...
    @property
    def stream(self) -> bool: ...


class _Context(Protocol):
    @property
    def path(self) -> str: ...


class CountedPull(Protocol):
    @property
    def source(self) -> str: ...
    @property
    def phase(self) -> str: ...
    @property
    def received(self) -> int: ...
    @property
    def is_over(self) -> bool: ...
    @property
    def failure(self) -> str | None: ...


class CountedRequest(Protocol):
    @property
    def resolved(self) -> _Resolved: ...
    @property
    def context(self) -> _Context: ...
    @property
    def status(self) -> int: ...
    @property
    def queue_ms(self) -> int: ...  # -1 for a request that was not admitted
    @property
    def began(self) -> float: ...  # monotonic
    @property
    def ended(self) -> float: ...
    @property
    def body(self) -> CommonBody | None: ...  # None: it has `tokens`
    @property
    def tokens(self) -> Tokens: ...
    @property
    def ttft_ms(self) -> int: ...


def _add(
    series: RequestSeries,
    usage: ModelUsage,
    bodies: list[CommonBody],
    durations: list[int],
    waits: list[int],
) -> None:
    """Count requests of one series; `durations` are those of `bodies`."""
    usage.add(add_up(bodies, durations))
    usage.waits.add_all(waits)
    series.add_all(durations)


class Metrics:
    def __init__(self, *, version: str = "") -> None:
        self._version = version
        self.counters = Counters()
        self._starting: dict[str, float] = {}
        self._pulling: dict[str, int] = {}
        """Bytes that each pull had received when it was last heard of."""
        self._stopped: str | None = None
        """The last model that was stopped since the last start."""

    def watch_drops(self, **where: Callable[[], int]) -> None:
        """Add sources of dropped data: a name, and a function that returns how much was dropped."""
        self.counters.drops.update(where)

    def requests(self, completed: Iterable[CountedRequest]) -> None:
        model = path = status = None
        series, usage = RequestSeries(), ModelUsage()  # of no request
        bodies: list[CommonBody] = []
        durations: list[int] = []
        waits: list[int] = []
        """Of one series, in a row: they are added together."""
        for request in completed:
            queue_ms = request.queue_ms
            resolved = request.resolved
            if (
                request.status != status
                or resolved.model != model
                or request.context.path != path
                or queue_ms < 0
            ):
                if bodies or waits:
                    _add(series, usage, bodies, durations, waits)
                    bodies, durations, waits = [], [], []
                model, path, status = resolved.model, request.context.path, request.status
                series, usage = self._series(model, path, status, queue_ms)
            body = request.body
            if body is not None:
                bodies.append(body)
                durations.append(int((request.ended - request.began) * 1000))
            else:
                usage.add(request.tokens.sums())
                series.add_all([request.tokens.duration_ms])
            if queue_ms >= 0:
                waits.append(queue_ms)
            if resolved.stream and request.ttft_ms >= 0:
                series.add_first_byte(request.ttft_ms / 1000)
        _add(series, usage, bodies, durations, waits)

    def _series(
        self, model: str, path: str, status: int, queue_ms: int
    ) -> tuple[RequestSeries, ModelUsage]:
        # a name that is not configured is no label
        label = "" if status == _NOT_FOUND and queue_ms < 0 else model
        return self.counters.series(label, path, status), self.counters.usage(label)

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

    def pull(self, pull: CountedPull) -> None:
        """Count what a pull has received since it was last heard of, and its end."""
        before = self._pulling.pop(pull.source, 0)
        self.counters.pulled_bytes += max(0, pull.received - before)
        if pull.is_over:
            result = str(pull.failure or pull.phase)
            self.counters.pulls[result] = self.counters.pulls.get(result, 0) + 1
        else:
            self._pulling[pull.source] = pull.received

    def decided(self, decision: Decision) -> None:
        """Count a decision that has ended."""
        evicted = (each.model for each in decision.evicted)
        self.counters.decided(decision.asker, decision.ending, evicted)

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
