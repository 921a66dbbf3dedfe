"""The front page of what is counted: takes rows and phases, gives `/metrics`.

Law: counting costs a few dictionary operations on the loop; text is made in a
thread, and prometheus_client is loaded at the first scrape.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .counters import Counters, ModelState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .activity import Row
    from .performance import GpuSample, HostSample

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_NOT_FOUND: Final = 404


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

    def request(self, row: Row) -> None:
        """Count one finished request."""
        counters = self.counters
        status = row.resp_status_code
        queue_ms = row.queue_ms
        invented = status == _NOT_FOUND and queue_ms < 0
        model = "" if invented else row.model_id  # a name nobody configured is no label
        ttft = row.ttft_ms / 1000 if row.stream and row.ttft_ms >= 0 else None
        counters.request(model, row.req_path, status, row.duration_ms / 1000, ttft)
        if queue_ms >= 0:
            counters.waited(model, queue_ms / 1000)
        if row.input_tokens > 0:
            counters.token(model, "prompt", row.input_tokens)
        if row.output_tokens > 0:
            counters.token(model, "generated", row.output_tokens)
        if row.cache_tokens > 0:
            counters.token(model, "cached", row.cache_tokens)
        if row.draft_tokens > 0:
            counters.token(model, "drafted", row.draft_tokens)
            counters.token(model, "accepted", row.draft_acc_tokens)

    def phase(self, model: str, state: str, now: float) -> None:
        """Take the news that a model is now starting, ready, stopping or stopped."""
        began = self._starting.pop(model, None)
        match state:
            case "starting":
                self._starting[model] = now if began is None else began
                if self._left is not None and self._left != model:
                    self.counters.swapped()
                self._left = None
            case "ready" if began is not None:
                self.counters.loaded(model, now - began)
            case "stopping":
                self._left = model
            case "stopped" if began is not None:
                self.counters.load_failed(model)
            case _:
                pass

    def text(
        self,
        states: Iterable[ModelState],
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
