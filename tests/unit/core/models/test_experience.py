"""What is learned of a model: how often it is asked, how long a reload takes, how soon it is asked again."""

from __future__ import annotations

from math import exp, inf

import pytest

from modelswap.core.models.experience import (
    LATE,
    PAUSES_KEPT,
    RATE_TIME,
    TYPICAL_STOP,
    Pauses,
    ReloadTimes,
    RequestRate,
)
from modelswap.core.models.lifecycle import Phase
from modelswap.units import Seconds

STARTED = ((Phase.STARTING, 0.0), (Phase.READY, 9.0))


def times(*changes: tuple[Phase, float], is_adopted: bool = False) -> ReloadTimes:
    found = ReloadTimes()
    for phase, now in changes:
        found.on_phase(phase, Seconds(now), is_adopted=is_adopted)
    return found


def test_nothing_is_known_before_the_first_start() -> None:
    """A model that never became ready has no times, also while it starts and after it failed."""
    for changes in ((), STARTED[:1], (STARTED[0], (Phase.STOPPED, 3.0))):
        found = times(*changes)
        assert found.reload is None
        assert found.start_left(Seconds(5)) is None


def test_the_last_start_and_stop_are_the_guess() -> None:
    """A stop counts from the order to stop, also if a kill follows; before the first one a typical one counts."""
    assert times(*STARTED).reload == 9.0 + TYPICAL_STOP
    stopped = ((Phase.STOPPING, 20.0), (Phase.KILLING, 22.0), (Phase.STOPPED, 23.0))
    found = times(*STARTED, *stopped, (Phase.STARTING, 30.0), (Phase.READY, 34.0))
    assert found.reload == 4.0 + 3.0
    assert found.start_left(Seconds(50)) == Seconds(4)


def test_a_start_in_progress_counts_down() -> None:
    """While it starts, what has passed is taken off, down to nothing."""
    found = times(*STARTED, (Phase.STOPPED, 20.0), (Phase.STARTING, 30.0))
    assert found.start_left(Seconds(33)) == Seconds(6)
    assert found.start_left(Seconds(60)) == Seconds(0)


def test_a_failed_start_and_an_adoption_teach_nothing() -> None:
    """A start that fails fast is no fast start; a server that was found running was not started now."""
    found = times(*STARTED, (Phase.STOPPED, 20.0), (Phase.STARTING, 30.0), (Phase.STOPPED, 31.0))
    assert found.start_left(Seconds(40)) == Seconds(9)
    assert times(*STARTED, is_adopted=True).reload is None


def test_a_steady_rate_is_found() -> None:
    """One request every ten seconds, asked about each minute or once, is a tenth per second."""
    often, once = RequestRate(), RequestRate()
    once.at(Seconds(0), 0)
    for minute in range(200):
        often.at(Seconds(60 * minute), 6 * minute)
    assert often.at(Seconds(12_000), 1200) == pytest.approx(0.1)
    assert once.at(Seconds(12_000), 1200) == pytest.approx(0.1)


def test_a_rate_falls_without_requests() -> None:
    """After `RATE_TIME` 37 % are left; requests at the moment of a question count at the next one."""
    rate = RequestRate()
    first = rate.at(Seconds(0), 6)
    assert first == 6 / RATE_TIME
    assert rate.at(Seconds(0), 7) == first
    assert rate.at(Seconds(RATE_TIME), 6) == pytest.approx(first * exp(-1))


def test_a_model_is_kept_for_a_pause_that_comes_again() -> None:
    """As long as the remembered pauses take, with a margin; not for one that costs more than it saves."""
    pauses = Pauses()
    assert pauses.worth_waiting(Seconds(10), 1) == 0.0
    pauses.add(0.5)
    assert pauses.worth_waiting(Seconds(10), 1) == 0.5 * LATE
    assert pauses.worth_waiting(Seconds(10), 20) == 0.0
    assert pauses.worth_waiting(Seconds(0.4), 1) == 0.0


def test_pauses_that_never_ended_count_against_it() -> None:
    """One in eight in time is worth a short wait, and not a long one."""
    for pause, hold in ((0.5, 0.5 * LATE), (9.0, 0)):
        pauses = Pauses()
        for seen in (pause, *[inf] * (PAUSES_KEPT - 1)):
            pauses.add(seen)
        assert pauses.worth_waiting(Seconds(10), 1) == hold
        pauses.add(inf)  # the oldest one is forgotten
        assert pauses.worth_waiting(Seconds(10), 1) == 0.0
