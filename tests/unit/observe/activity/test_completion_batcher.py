"""Finished requests reach the books together: in order, soon, and before every question."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from modelswap.observe.activity.completion_batcher import GATHER, MOST, MOST_HELD, CompletionBatcher
from modelswap.observe.activity.query import Filter, Page
from modelswap.observe.activity.store import Store
from modelswap.observe.captures import KEEP_ALL, CaptureBuilder, Captures
from modelswap.observe.logs.redaction import HeaderMask
from modelswap.observe.metrics.prometheus import Metrics
from modelswap.observe.usage.usage import Tokens

from .test_store import a_row

if TYPE_CHECKING:
    from modelswap.observe.activity.rows import Row


class Books:
    """A ledger with everything behind it, in memory."""

    def __init__(self) -> None:
        self.captures = Captures(10_000, HeaderMask())
        self.store = Store(self.captures, warn=print, done=self.on_done)
        self.store.open()
        self.metrics = Metrics()
        self.done: list[int] = []
        loop = asyncio.get_running_loop()
        self.completions = CompletionBatcher(
            self.store, self.captures, self.metrics, loop.call_later
        )

    def on_done(self, ids: Any) -> None:
        self.done += ids

    def over(self, model: str, size: int = 0, *, drafted: bool = False, held: int = 0) -> Over:
        over = Over(self.store, model, size, drafted=drafted)
        self.completions.add(over, held)
        return over


class Over:
    """A request that is over; whole captures say their `size`."""

    def __init__(self, store: Store, model: str, size: int, *, drafted: bool) -> None:
        self._store = store
        self._drafted = drafted
        self.model, self.size = model, size
        self.status, self.stream, self.queue_ms = 200, False, 0
        self.recorded_path = "/v1/chat/completions"
        self.capture_mask = KEEP_ALL
        self.request_headers = self.response_headers = ()
        self.request_body, self.response_body = b"in", b"out"
        self.tokens = Tokens(input=3)
        self.id = 0

    def settle(self, number: int, _epoch: float) -> CaptureBuilder | None:
        self.id = number
        return CaptureBuilder("/v1/x", KEEP_ALL, ()) if self._drafted else None

    def forget(self) -> None:
        self.request_body = self.response_body = b""

    def row(self) -> Row:
        return a_row(SimpleNamespace(next_ids=lambda _: self.id), model=self.model)  # type: ignore[arg-type]  # gives the id


async def test_what_is_over_is_in_the_books_a_moment_later() -> None:
    """Nobody has to ask: a timer enters it, once, in the order of its end."""
    books = Books()
    for name in "abc":
        books.over(name)
    assert books.done == []
    await asyncio.sleep(3 * GATHER)
    assert books.done == [1, 2, 3]
    assert books.metrics.counters.tokens == {(name, "prompt"): 3 for name in "abc"}
    books.completions.settle()
    assert books.done == [1, 2, 3]


async def test_a_question_sees_all_that_ended_before_it() -> None:
    """Who asks does not wait for the timer."""
    books = Books()
    for number in range(5):
        books.over(f"m{number}")
    listing: Any = await books.completions.ask(lambda: books.store.listing(Filter(), Page()))
    assert [row["model"] for row in listing["data"]] == [f"m{4 - n}" for n in range(5)]


async def test_many_do_not_wait() -> None:
    """What waits is bounded."""
    books = Books()
    for _ in range(MOST + 1):
        books.over("m")
    assert books.done == list(range(1, MOST + 1))


async def test_large_bodies_do_not_wait_in_numbers() -> None:
    """What waits is bounded in bytes, too, and counted anew after each entering."""
    books = Books()
    for _ in range(2):
        for _ in range(3):
            books.over("m", held=MOST_HELD // 3)
        before = len(books.done)
        books.over("m", held=MOST_HELD // 3)
        assert before < len(books.done)
    assert books.done == list(range(1, 9))


async def test_captures_of_both_kinds() -> None:
    """Whole ones hold themselves, drafts are kept by id, and one that never fits forgets its bodies."""
    books = Books()
    small, drafted = books.over("a", 100), books.over("b", drafted=True)
    huge, plain = books.over("c", 20_000), books.over("d")
    books.completions.settle()
    assert books.captures.ids() == {small.id, drafted.id}
    assert (small.request_body, huge.request_body, plain.request_body) == (b"in", b"", b"in")
    assert books.captures.refused == 1
