"""Tries again what may go better: with growing pauses, and those that a server asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from modelswap.pull.failures import PullError, TransientError
from modelswap.units import Seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelswap.pull.timing import PullTiming
    from modelswap.pull.watch import PullWatch

T = TypeVar("T")


def insist(
    step: Callable[[], T],
    watch: PullWatch,
    timing: PullTiming,
    reached: Callable[[], int] = lambda: 0,
) -> T:
    """Return what the step returns, in the end; a try that has `reached` more counts as no failure."""
    failures, best = 0, reached()
    while True:
        try:
            return step()
        except TransientError as problem:
            watch.check()
            failures = failures + 1 if reached() <= best else 1
            best = max(best, reached())
            if failures >= timing.tries:
                raise
            pause = max(timing.pause(failures), problem.retry_after or Seconds(0.0))
            if pause > timing.longest_wait:
                raise PullError(
                    problem.failure, problem.text, retry_after=problem.retry_after
                ) from None
            watch.wait(problem.text, pause)
