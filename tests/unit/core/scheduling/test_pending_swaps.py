"""The swaps in progress."""

from __future__ import annotations

from modelswap.core.scheduling.pending_swaps import PendingSwap, PendingSwaps
from modelswap.core.spec import ModelId

A, B, C, D = (ModelId(one) for one in "abcd")


def test_a_swap_goes_on_after_the_last_exit_that_it_waits_for() -> None:
    """An exit is taken from each swap that waits for it; one that waits for another is not told."""
    both, one = PendingSwap({A, B}), PendingSwap({A})
    swaps = PendingSwaps({C: both, D: one})
    assert swaps.awaiting(A) == [C, D]
    assert swaps.on_exited(A) == [(D, one)]
    assert swaps.awaiting(A) == []
    assert swaps.on_exited(A) == []
    assert swaps.on_exited(B) == [(C, both)]


def test_a_forgotten_model_is_neither_loaded_nor_brought_back() -> None:
    """Its own swap is dropped, and it leaves the lists of those that were evicted."""
    swaps = PendingSwaps({A: PendingSwap(set()), B: PendingSwap(set(), evicted=(A, C))})
    swaps.forget(A)
    swaps.forget(D)
    assert list(swaps) == [B]
    assert swaps[B].evicted == (C,)
