"""Learnt load times: the last good load is the guess."""

from __future__ import annotations

from modelswap.core.models.lifecycle import Phase
from modelswap.core.models.state import LoadTimes
from modelswap.core.spec import ModelId
from modelswap.units import Seconds

A = ModelId("a")


def times(*changes: tuple[Phase, float]) -> LoadTimes:
    found = LoadTimes()
    for phase, now in changes:
        found.on_phase(A, phase, Seconds(now))
    return found


def test_nothing_is_known_before_the_first_load() -> None:
    """A model that never became ready has no guess, also while it starts and after it failed."""
    assert times().left(A, Seconds(0)) is None
    assert times((Phase.STARTING, 0)).left(A, Seconds(5)) is None
    assert times((Phase.STARTING, 0), (Phase.STOPPED, 3)).left(A, Seconds(5)) is None


def test_the_last_load_is_the_guess() -> None:
    """A model that is down takes as long as the last time."""
    found = times(
        (Phase.STARTING, 0),
        (Phase.READY, 9),
        (Phase.STOPPED, 20),
        (Phase.STARTING, 30),
        (Phase.READY, 34),
        (Phase.STOPPING, 40),
        (Phase.STOPPED, 41),
    )
    assert found.left(A, Seconds(50)) == Seconds(4)


def test_a_load_in_progress_counts_down() -> None:
    """While it loads, what has passed is taken off, down to nothing."""
    found = times((Phase.STARTING, 0), (Phase.READY, 9), (Phase.STOPPED, 20), (Phase.STARTING, 30))
    assert found.left(A, Seconds(33)) == Seconds(6)
    assert found.left(A, Seconds(60)) == Seconds(0)


def test_a_failed_load_teaches_nothing() -> None:
    """A start that fails fast does not look like a fast load."""
    found = times(
        (Phase.STARTING, 0),
        (Phase.READY, 9),
        (Phase.STOPPED, 20),
        (Phase.STARTING, 30),
        (Phase.STOPPED, 31),
    )
    assert found.left(A, Seconds(40)) == Seconds(9)
