"""Completed requests are recorded together: in order, soon, and before every query."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from modelswap.observe.activity.completion_batcher import GATHER, MOST, MOST_HELD, CompletionBatcher
from modelswap.observe.activity.query import Filter, Page
from modelswap.observe.activity.store import Store
from modelswap.observe.captures import KEEP_ALL, CaptureBuilder, Captures
from modelswap.observe.logs.logs import Logs
from modelswap.observe.logs.redaction import HeaderMask
from modelswap.observe.metrics.prometheus import Metrics
from modelswap.observe.usage.usage import Tokens

from .test_store import a_row

if TYPE_CHECKING:
    from modelswap.observe.activity.rows import Row


class Recorder:
    """A completion batcher with all that it records into, in memory."""

    def __init__(self) -> None:
        self.captures = Captures(10_000, HeaderMask())
        self.store = Store(self.captures, warn=print, on_recorded=self.on_done)
        self.store.open()
        self.metrics = Metrics()
        self.done: list[int] = []
        self.completions = CompletionBatcher(
            self.store, self.captures, self.metrics, Logs(to_stdout="none")
        )

    def on_done(self, ids: Any) -> None:
        self.done += ids

    def complete(
        self, model: str, size: int = 0, *, built: bool = False, held: int = 0
    ) -> Completed:
        completed = Completed(self.store, model, size, built=built)
        self.completions.add(completed, held)
        return completed


class Completed:
    """A completed request; complete exchanges have a `size`."""

    def __init__(self, store: Store, model: str, size: int, *, built: bool) -> None:
        self._store = store
        self._built = built
        self.model, self.size = model, size
        self.status, self.queue_ms = 200, 0
        self.recorded_path = "/v1/chat/completions"
        self.capture_mask = KEEP_ALL
        self.request_headers = self.response_headers = ()
        self.request_body, self.response_body = b"in", b"out"
        self.tokens = Tokens(input=3)
        self.body, self.ttft_ms = None, -1
        self.resolved: Any = SimpleNamespace(model=model, stream=False)
        self.context: Any = SimpleNamespace(path=self.recorded_path)
        self.began = self.ended = 1.0
        self.id = 0

    def finalize(self, number: int, _epoch: float) -> CaptureBuilder | None:
        self.id = number
        return CaptureBuilder("/v1/x", KEEP_ALL, ()) if self._built else None

    def forget(self) -> None:
        self.request_body = self.response_body = b""

    def row(self) -> Row:
        return a_row(SimpleNamespace(next_ids=lambda _: self.id), model=self.model)  # type: ignore[arg-type]  # gives the id


async def test_completed_requests_are_recorded_a_moment_later() -> None:
    """A timer records them once, in the order of their ends."""
    recorder = Recorder()
    for name in "abc":
        recorder.complete(name)
    assert recorder.done == []
    await asyncio.sleep(3 * GATHER)
    assert recorder.done == [1, 2, 3]
    assert recorder.metrics.counters.tokens == {(name, "prompt"): 3 for name in "abc"}
    recorder.completions.flush()
    assert recorder.done == [1, 2, 3]


async def test_a_query_sees_all_requests_that_ended_before() -> None:
    """A query does not wait for the timer."""
    recorder = Recorder()
    for number in range(5):
        recorder.complete(f"m{number}")
    listing: Any = await recorder.completions.query(
        lambda: recorder.store.listing(Filter(), Page())
    )
    assert [row["model"] for row in listing["data"]] == [f"m{4 - n}" for n in range(5)]


async def test_a_full_batch_is_recorded_at_once() -> None:
    """The number of waiting requests is bounded."""
    recorder = Recorder()
    for _ in range(MOST + 1):
        recorder.complete("m")
    assert recorder.done == list(range(1, MOST + 1))


async def test_many_bytes_are_recorded_at_once() -> None:
    """The bytes of waiting requests are bounded, too, and counted anew for each batch."""
    recorder = Recorder()
    for _ in range(2):
        for _ in range(3):
            recorder.complete("m", held=MOST_HELD // 3)
        before = len(recorder.done)
        recorder.complete("m", held=MOST_HELD // 3)
        assert before < len(recorder.done)
    assert recorder.done == list(range(1, 9))


async def test_captures_of_both_kinds() -> None:
    """Complete exchanges hold themselves, built captures are kept by id; one that never fits forgets its bodies."""
    recorder = Recorder()
    small, built = recorder.complete("a", 100), recorder.complete("b", built=True)
    huge, plain = recorder.complete("c", 20_000), recorder.complete("d")
    recorder.completions.flush()
    assert recorder.captures.ids() == {small.id, built.id}
    assert (small.request_body, huge.request_body, plain.request_body) == (b"in", b"", b"in")
    assert recorder.captures.refused == 1
