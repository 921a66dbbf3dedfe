"""What readers see of a pull, on a clock of the test."""

from __future__ import annotations

import pytest

from modelswap.pull.failures import PullCancelledError, PullError
from modelswap.pull.progress import FileProgress, PullFailure, PullPhase
from modelswap.pull.timing import PullTiming
from modelswap.pull.watch import PullWatch
from modelswap.units import Bytes, Seconds


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watch(clock: Clock) -> PullWatch:
    return PullWatch("hf:a/b", PullTiming(stalled=Seconds(10)), clock)


def files(*totals: int | None) -> list[FileProgress]:
    return [
        FileProgress(name=str(index), done=Bytes(0), total=None if total is None else Bytes(total))
        for index, total in enumerate(totals)
    ]


def test_a_pull_in_the_queue_does_not_stall(watch: PullWatch, clock: Clock) -> None:
    watch.queue("waits for another one")
    clock.now += 1000
    assert watch.progress().phase is PullPhase.RESOLVING
    assert watch.progress().text == "waits for another one"


def test_silence_is_a_stall_until_a_byte_comes(watch: PullWatch, clock: Clock) -> None:
    """The reason is told with it: what the tries have met."""
    watch.begin()
    watch.download(files(100))
    clock.now += 9
    assert watch.progress().phase is PullPhase.DOWNLOADING
    watch.wait("the host cannot be reached", 0)
    clock.now += 2
    stalled = watch.progress()
    assert stalled.phase is PullPhase.STALLED
    assert stalled.text == (
        "nothing has come for 11 s (the host cannot be reached); it goes on trying"
    )
    watch.received("0", 5, 5)
    assert (watch.progress().phase, watch.progress().text) == (PullPhase.DOWNLOADING, "")


def test_the_rate_is_that_of_the_last_seconds(watch: PullWatch, clock: Clock) -> None:
    watch.begin()
    watch.download(files(10_000))
    for second in range(10):
        watch.progress()
        clock.now += 1
        watch.received("0", (second + 1) * 100, 100 if second < 5 else 300)
    progress = watch.progress()
    assert progress.rate == pytest.approx(300)
    assert progress.seconds_left == pytest.approx(30)
    watch.finish()
    assert watch.progress().rate == 0


def test_a_total_is_known_when_all_sizes_are(watch: PullWatch) -> None:
    assert watch.progress().total is None
    watch.download(files(100, None))
    watch.received("1", 7, 7)
    assert (watch.progress().done, watch.progress().total) == (7, None)
    watch.size("1", 50)
    assert watch.progress().total == 150


def test_the_first_end_counts(watch: PullWatch) -> None:
    watch.cancel()
    watch.fail(PullError(PullFailure.NETWORK, "the connection broke"))
    watch.finish()
    assert watch.progress().phase is PullPhase.CANCELLED
    for ask in (watch.check, lambda: watch.wait("", 60), lambda: watch.download([])):
        with pytest.raises(PullCancelledError):
            ask()


def test_a_failure_says_when_to_come_back(watch: PullWatch) -> None:
    watch.fail(PullError(PullFailure.RATE_LIMITED, "too often", retry_after=Seconds(30)))
    watch.cancel()
    progress = watch.progress()
    assert (progress.phase, progress.failure) == (PullPhase.FAILED, PullFailure.RATE_LIMITED)
    assert (progress.text, progress.retry_after) == ("too often", Seconds(30))
