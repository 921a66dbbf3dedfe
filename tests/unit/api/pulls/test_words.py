"""A pull in words."""

from __future__ import annotations

from typing import Any

import pytest

from modelswap.api.pulls.words import PullWords, plan_words, pull_words, size_words, time_words
from modelswap.pull.progress import PullPhase, PullProgress

SOURCE = "hf:o/r:Q4_K_M"


def pull(phase: PullPhase = PullPhase.DOWNLOADING, **more: Any) -> PullProgress:
    return PullProgress(source=SOURCE, phase=phase, **more)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (pull(PullPhase.RESOLVING), f"pulling {SOURCE}: asking which files there are"),
        (pull(PullPhase.RESOLVING, text="again in 9 s"), f"pulling {SOURCE}: again in 9 s"),
        (pull(done=5), f"pulling {SOURCE}, 5 B"),
        (pull(done=5, total=10), f"pulling {SOURCE} … 50 %, 5 of 10 B"),
        (pull(done=0, total=3_500_000), f"pulling {SOURCE} … 0 %, 0 of 3.5 MB"),
        (
            pull(done=1_200_000_000, total=3_500_000_000, rate=57.5e6),
            f"pulling {SOURCE} … 34 %, 1.2 of 3.5 GB, 57.5 MB/s, 40 s left",
        ),
        (pull(done=12, total=10), f"pulling {SOURCE} … 100 %, 12 of 10 B"),
        (pull(PullPhase.STALLED, text="no route"), f"the pull of {SOURCE} has stalled: no route"),
        (pull(PullPhase.STALLED), f"the pull of {SOURCE} has stalled: nothing comes"),
    ],
)
def test_words(found: PullProgress, words: str) -> None:
    """What is not known is left out."""
    assert pull_words(found) == words


def test_what_comes_first() -> None:
    """A plan begins with the files that are missing: how their pull stands, or that none runs."""
    then = "a would start at once."
    assert plan_words("a", SOURCE, None, then) == (
        f"The files of a are not here: {SOURCE} would be pulled first. Then {then}"
    )
    assert plan_words("a", SOURCE, pull(done=5, total=10), then) == (
        f"a waits for its files: pulling {SOURCE} … 50 %, 5 of 10 B. Then {then}"
    )


def test_sizes_and_times() -> None:
    """Decimal sizes; minutes from two minutes on."""
    assert [size_words(n) for n in (0, 999, 1000, 2_500_000, 7 * 10**9)] == [
        "0 B", "999 B", "1 kB", "2.5 MB", "7 GB",
    ]  # fmt: skip
    assert [time_words(n) for n in (0.4, 119.0, 600.0)] == ["0 s", "119 s", "10 min"]


def test_each_step_is_told_once() -> None:
    """A reader hears of a change, and of nothing between two of them."""
    steps = [pull(done=1), pull(done=1), None, pull(done=2)]
    words = PullWords(lambda: steps.pop(0))
    assert [words() for _ in range(4)] == [
        f"\npulling {SOURCE}, 1 B ", "", "", f"\npulling {SOURCE}, 2 B ",
    ]  # fmt: skip
