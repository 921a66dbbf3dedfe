"""What follows from the cost of a swap: bounds, the order of swaps, models that are kept."""

from __future__ import annotations

import pytest

from modelswap.core.commands import LeaseRequest
from modelswap.core.models.lifecycle import Phase
from modelswap.core.models.state import LONG_AGO, NEVER, ModelState
from modelswap.core.placement.policy import Facts
from modelswap.core.scheduling.pending_swaps import PendingSwap
from modelswap.core.scheduling.queue import WaitQueue
from modelswap.core.scheduling.swap_costs import (
    LEAST_BOUND,
    MOST_BOUND,
    SWAPS,
    SwapCosts,
)
from modelswap.core.spec import ClientId, ModelId, ModelSpec, RequestId
from modelswap.units import Seconds

A, B, C = (ModelId(name) for name in "abc")
NOW = Seconds(100)


class Costs:
    """The costs of three models, of which `a` is ready, and what waits for the others."""

    def __init__(self, max_wait: Seconds | None = None, **reload: float) -> None:
        self.states = {m: ModelState(ModelSpec(id=m)) for m in (A, B, C)}
        self.states[A].phase = Phase.READY
        self.queue = WaitQueue()
        self.costs = SwapCosts(self.states, self.queue, max_wait)
        known = {ModelId(m): Seconds(took) for m, took in reload.items()}
        self.costs.on_facts(Facts(epoch=1, reload=known))
        self._ids = 0

    def wait(self, model: ModelId, count: int, *, bound: float = 30.0) -> Costs:
        for _ in range(count):
            self._ids += 1
            lease = LeaseRequest(model, ClientId("c"))
            self.queue.add(RequestId(self._ids), lease, 0, NOW, Seconds(bound))
        return self

    def first(self) -> ModelId:
        ranks = self.costs.ranks({}, NOW)
        return min(ranks, key=lambda model: ranks[model])


@pytest.mark.parametrize(
    ("b", "a", "expected"),
    [(3.0, 2.0, SWAPS * 5.0 / 2), (0.1, 0.2, LEAST_BOUND), (20.0, 9.0, MOST_BOUND)],
)
def test_the_bound_follows_the_cost(b: float, a: float, expected: float) -> None:
    """As long as `SWAPS` swaps of the pair, within 5 and 30 seconds."""
    assert Costs(b=b, a=a).costs.bound(B, [A, B]) == expected


def test_a_configured_bound_holds_whatever_swaps_cost() -> None:
    assert Costs(Seconds(77), b=1.0).costs.bound(B, [A]) == 77.0


def test_an_unknown_model_is_assumed_to_load_from_a_disk() -> None:
    assert Costs().costs.bound(B, []) == SWAPS * 5.0 / 2


def test_what_was_learned_here_goes_before_what_was_stored() -> None:
    """Measured times replace those of the facts, also of later facts, and policies see them."""
    found = Costs(b=9.0, c=8.0)
    times = found.states[B].times
    for phase, now in (
        (Phase.STARTING, 0),
        (Phase.READY, 2),
        (Phase.STOPPING, 5),
        (Phase.STOPPED, 6),
    ):
        times.on_phase(phase, Seconds(now), is_adopted=False)
    found.costs.learn(B)
    found.costs.learn(C)
    assert found.costs.facts.reload == {B: 3.0, C: 8.0}
    found.costs.on_facts(Facts(epoch=2, reload={B: Seconds(7), C: Seconds(6)}))
    assert found.costs.facts.reload == {B: 3.0, C: 6.0}


def test_more_requests_per_second_of_swap_go_first() -> None:
    """Three for a swap of ten seconds go before two, and behind one for a swap of two."""
    assert Costs(b=10, c=10).wait(B, 2).wait(C, 3).first() == C
    assert Costs(b=10, c=2).wait(B, 3).wait(C, 1).first() == C


def test_what_differs_by_less_than_a_second_is_in_order_of_arrival() -> None:
    ranks = Costs(b=5.3, c=4.8).wait(B, 1).wait(C, 1).costs.ranks({}, NOW)
    assert ranks[B] == ranks[C]


def test_none_goes_first_for_which_another_is_too_late() -> None:
    """The one that is due waits at most until its time; alone in time, the better one goes first."""
    urgent = Costs(b=10, c=10).wait(B, 1, bound=9.0).wait(C, 3)
    assert urgent.first() == B
    assert Costs(b=10, c=10).wait(B, 1, bound=11.0).wait(C, 3).first() == C


def test_the_loaded_the_pending_and_the_unbounded_have_no_rank() -> None:
    """They come first, or in the order of arrival, as the queue has them."""
    found = Costs().wait(A, 1).wait(B, 1).wait(C, 1, bound=NEVER)
    assert found.costs.ranks({}, NOW) == {B: 1}
    assert found.costs.ranks({B: PendingSwap(set())}, NOW) == {}


def test_an_idle_model_is_kept_for_its_next_request() -> None:
    """Until its last pause has passed twice since it was used; one that is not ready is not kept."""
    found = Costs(a=5, b=5).wait(B, 1)
    found.states[A].used = NOW
    assert found.costs.kept_until(A, B) == LONG_AGO
    found.states[A].pauses.add(0.5)
    assert found.costs.kept_until(A, B) == NOW + 1.0
    found.states[A].phase = Phase.STOPPING
    assert found.costs.kept_until(A, B) == LONG_AGO


def test_pauses_are_those_before_anything_else_was_loaded() -> None:
    """Of a model that is there, or that was evicted for a load that has not ended; never of one that was not used."""
    found = Costs(a=5, b=5)
    state, costs = found.states[A], found.costs
    costs.note_pause(A, {}, set(), NOW)
    assert state.pauses.worth_waiting(Seconds(10), 1) == 0.0
    state.used = Seconds(NOW - 1)
    costs.note_pause(A, {}, set(), NOW)
    assert state.pauses.worth_waiting(Seconds(10), 1) == 2.0
    state.phase = Phase.STOPPED
    costs.note_pause(A, {B: PendingSwap(set(), (A,))}, set(), Seconds(NOW + 2))
    assert state.pauses.worth_waiting(Seconds(30), 1) == 6.0
    for _ in range(8):
        costs.note_pause(A, {}, set(), NOW)
    assert state.pauses.worth_waiting(Seconds(30), 1) == 0.0
    state.in_flight = 1
    costs.note_pause(A, {B: PendingSwap(set(), (A,))}, set(), NOW)
    assert state.pauses.worth_waiting(Seconds(30), 1) == 0.0
