"""The front page of what is counted: takes rows and phases, gives `/metrics`.

Law: counting costs a few dictionary operations on the loop; text is made in a
thread, and prometheus_client is loaded at the first scrape.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from .counters import Counters, ModelCounters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from modelswap.observe.usage.usage import Tokens

    from .performance import GpuSample, HostSample

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_NOT_FOUND: Final = 404


class Finished(Protocol):
    """What is counted of a request."""

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
    def queue_ms(self) -> int:
        """-1 for one that never had its turn."""
        ...


class Metrics:
    """Counters of the program since its start."""

    def __init__(self, *, version: str = "") -> None:
        self._version = version
        self.counters = Counters()
        self._starting: dict[str, float] = {}
        self._left: str | None = None
        """The last model that had to leave since the last start."""

    def watch_drops(self, **where: Callable[[], int]) -> None:
        """Tell where something can be dropped: name and a function that says how much was."""
        self.counters.drops.update(where)

    def requests(self, all_done: Iterable[Finished]) -> None:
        """Count finished requests."""
        counters = self.counters
        last: tuple[str, str, int] | None = None
        series = use = None
        for done in all_done:
            tokens = done.tokens
            queue_ms = done.queue_ms
            status = done.status
            # a name nobody configured is no label
            key = (
                "" if status == _NOT_FOUND and queue_ms < 0 else done.model,
                done.recorded_path,
                status,
            )
            if series is None or use is None or key != last:
                last = key
                series, use = counters.series(*key), counters.use(key[0])
            series.count += 1
            series.duration.add(tokens.duration_ms / 1000)
            if done.stream and tokens.ttft_ms >= 0:
                series.add_first_byte(tokens.ttft_ms / 1000)
            if not queue_ms:  # the usual: it was ready
                use.waits.add_zero()
            elif queue_ms > 0:
                use.waits.add(queue_ms / 1000)
            if tokens.input > 0:
                use.prompt += tokens.input
            if tokens.output > 0:
                use.generated += tokens.output
            if tokens.cached > 0:
                use.cached += tokens.cached
            if tokens.drafted > 0:
                use.drafted += tokens.drafted
                use.accepted += max(tokens.accepted, 0)

    def phase(self, model: str, state: str, now: float, *, failed: bool = False) -> None:
        """Take the news that a model is now starting, ready, stopping or stopped.

        *failed* tells a load that took too long from one that was called off.
        """
        began = self._starting.pop(model, None)
        match state:
            case "starting":
                self._starting[model] = now if began is None else began
                if self._left is not None and self._left != model:
                    self.counters.swapped()
                self._left = None
            case "ready" if began is not None:
                self.counters.loaded(model, now - began)
            case "stopping" if began is not None and failed:
                self.counters.load_failed(model)
            case "stopping":
                self._left = model
            case "stopped" if began is not None:
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
        """The exposition. Not for the loop's thread."""
        from .exposition import Scrape  # noqa: PLC0415 -- loaded at the first scrape

        scrape = Scrape(
            self.counters, list(states), host, gpus, version=self._version, in_flight=in_flight
        )
        return scrape.text()
