"""When another try is made, and after which pause."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from modelswap.pull.failures import PullError, TransientError
from modelswap.pull.progress import PullFailure
from modelswap.pull.timing import PullTiming
from modelswap.pull.transfer.tries import insist
from modelswap.pull.watch import PullWatch
from modelswap.units import Seconds

if TYPE_CHECKING:
    from collections.abc import Iterable

TIMING = PullTiming(tries=4, longest_pause=Seconds(3))


class PatientWatch(PullWatch):
    """Notes the pauses instead of waiting."""

    def __init__(self) -> None:
        super().__init__("hf:a/b", TIMING)
        self.pauses: list[float] = []

    def wait(self, text: str, seconds: float) -> None:
        assert text == "broken"
        self.pauses.append(seconds)


class Step:
    """Fails so often, then succeeds; each failure may have reached some bytes more."""

    def __init__(self, failures: Iterable[tuple[int, float | None]]) -> None:
        self._failures = iter(failures)
        self.reached = 0

    def __call__(self) -> str:
        for more, wait in self._failures:
            self.reached += more
            after = None if wait is None else Seconds(wait)
            raise TransientError(PullFailure.NETWORK, "broken", retry_after=after)
        return "done"


def test_pauses_grow_and_are_bounded() -> None:
    watch = PatientWatch()
    assert insist(Step([(0, None)] * 3), watch, TIMING) == "done"
    assert watch.pauses == [1, 2, 3]


def test_it_ends_after_some_failures_in_a_row() -> None:
    watch = PatientWatch()
    with pytest.raises(TransientError):
        insist(Step([(0, None)] * 4), watch, TIMING)
    assert len(watch.pauses) == 3


def test_a_try_that_got_further_begins_the_count_anew() -> None:
    watch = PatientWatch()
    step = Step([(0, None), (0, None), (5, None)] * 10)
    assert insist(step, watch, TIMING, lambda: step.reached) == "done"
    assert watch.pauses[:4] == [1, 2, 1, 2]


def test_a_server_is_given_the_time_that_it_asks_for() -> None:
    watch = PatientWatch()
    assert insist(Step([(0, 60.0), (0, 0.5)]), watch, TIMING) == "done"
    assert watch.pauses == [60, 2]


def test_too_long_a_time_ends_the_pull_and_is_told() -> None:
    with pytest.raises(PullError) as caught:
        insist(Step([(0, 121.0)]), PatientWatch(), TIMING)
    assert not isinstance(caught.value, TransientError)
    assert caught.value.retry_after == Seconds(121)
