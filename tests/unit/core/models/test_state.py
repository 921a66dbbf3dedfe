"""The back-off of one model: what delays the next start, and what resets it."""

from __future__ import annotations

from modelswap.core.failure import Cause, failure
from modelswap.core.models.state import EARLY_CRASH, EARLY_CRASHES, LONGEST_BACKOFF, ModelState
from modelswap.core.spec import ModelId, ModelSpec
from modelswap.units import Seconds

WHY = failure(Cause.CRASHED, "signal 11", exit_code=139)
CLEAN = failure(Cause.EXITED, "exit code 0", exit_code=0)
NOW = Seconds(100)


def state() -> ModelState:
    return ModelState(ModelSpec(id=ModelId("m")))


def test_failed_starts_double_the_backoff() -> None:
    """Each failed start doubles the delay up to the longest, however many there are."""
    model = state()
    delays = []
    for _ in range(2000):
        model.on_start_failed(WHY, NOW)
        delays.append(model.backoff_left(NOW))
    assert delays[:6] == [1, 2, 4, 8, 16, LONGEST_BACKOFF]
    assert delays[-1] == LONGEST_BACKOFF
    model.on_ready(NOW)
    model.on_start_failed(WHY, NOW)
    assert model.backoff_left(NOW) == Seconds(1)


def test_early_crashes_back_off_after_the_third() -> None:
    """Three early crashes in a row cause no back-off; a late one starts the count anew."""
    model = state()
    for _ in range(EARLY_CRASHES):
        model.on_ready(NOW)
        model.on_exited(WHY, NOW)
        assert model.backoff_left(NOW) <= 0
    model.on_ready(NOW)
    model.on_exited(WHY, Seconds(NOW + EARLY_CRASH))
    assert model.backoff_left(NOW) <= 0
    for _ in range(EARLY_CRASHES + 1):
        model.on_ready(NOW)
        model.on_exited(WHY, NOW)
    assert model.backoff_left(NOW) == Seconds(1)


def test_a_clean_exit_is_no_failure() -> None:
    """A ready server that exits with 0 leaves no failure, unless it backs off."""
    model = state()
    model.on_ready(NOW)
    model.on_exited(CLEAN, NOW)
    assert model.failure is None
    model.on_exited(WHY, NOW)
    assert model.failed_at == NOW
    model.reset_backoff()
    assert model.failure is None
