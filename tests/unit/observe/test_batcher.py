"""Items are gathered until a time or a bound, and delivered in their order."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from modelswap.observe.batcher import Batcher
from modelswap.units import Bytes, Seconds

if TYPE_CHECKING:
    from collections.abc import Callable


class Recorded:
    """A batcher of texts, what it delivered, and the timers that it set."""

    def __init__(self) -> None:
        self.delivered: list[list[str]] = []
        self.timers: list[Callable[[], None]] = []
        self.cancelled = 0
        self.batcher: Batcher[str] = Batcher(
            self.delivered.append, Seconds(1.0), most=3, most_bytes=Bytes(10), later=self.later
        )

    def later(self, _delay: Seconds, call: Callable[[], None]) -> Any:
        self.timers.append(call)
        return SimpleNamespace(cancel=self.cancel)

    def cancel(self) -> None:
        self.cancelled += 1


def test_the_timer_delivers_what_was_gathered_in_its_order() -> None:
    recorded = Recorded()
    recorded.batcher.add("a")
    recorded.batcher.add("b")
    assert recorded.delivered == []
    (timer,) = recorded.timers
    timer()
    assert recorded.delivered == [["a", "b"]]


def test_a_full_batch_is_delivered_at_once() -> None:
    recorded = Recorded()
    for text in "abcd":
        recorded.batcher.add(text)
    assert recorded.delivered == [["a", "b", "c"]]
    assert (len(recorded.timers), recorded.cancelled) == (2, 1)


def test_many_bytes_are_delivered_at_once() -> None:
    recorded = Recorded()
    recorded.batcher.add("a", 6)
    recorded.batcher.add("b", 4)
    assert recorded.delivered == [["a", "b"]]
    recorded.batcher.add("c", 9)
    assert recorded.delivered == [["a", "b"]]


def test_an_empty_batch_is_not_delivered() -> None:
    recorded = Recorded()
    recorded.batcher.flush()
    recorded.batcher.add("a")
    recorded.batcher.discard()
    recorded.batcher.flush()
    assert recorded.delivered == []
    assert recorded.cancelled == 1
