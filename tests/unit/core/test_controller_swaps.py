"""Fewer swaps: what waits for a loaded model is served before it leaves, and the cheapest swap goes first."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

import pytest

from modelswap.core.placement.policy import NO_EVICTIONS, Facts, PlacementPlan, Usage, stop
from modelswap.core.spec import ModelId
from modelswap.units import Seconds
from support.controller_simulator import FakeServer, spec, specs, swapping

if TYPE_CHECKING:
    from modelswap.core.placement.policy import Question

A, B, C = ModelId("a"), ModelId("b"), ModelId("c")
SLOW = FakeServer(starts_in=4.0, stops_in=1.0)


def test_waiting_requests_are_served_before_their_model_leaves() -> None:
    """Behind a limit of one, five requests for one model are served before the first one for another."""
    sim = swapping(specs=specs(a=spec("a", concurrency=1)), seconds_of_work=lambda: 1.0)
    first = [sim.arrive("a", "x") for _ in range(2)]
    other = sim.arrive("b", "y")
    first += [sim.arrive("a", "x") for _ in range(3)]
    sim.run(30)
    assert sim.granted == [*first, other]
    assert sim.spawned == [A, B]


def test_a_higher_priority_does_not_wait_for_them() -> None:
    """A model of higher priority is loaded as soon as the loaded one has no running request."""
    limited = specs(a=spec("a", concurrency=1), b=spec("b", priority=1))
    sim = swapping(specs=limited, seconds_of_work=lambda: 1.0)
    sim.arrive("a")
    waits = sim.arrive("a")
    other = sim.arrive("b")
    sim.run(30)
    assert sim.granted[1:] == [other, waits]


@pytest.mark.parametrize(("bound", "order"), [(30.0, [A, C, B]), (inf, [A, B, C])])
def test_the_model_with_the_most_waiting_requests_is_loaded_first(
    bound: float, order: list[ModelId]
) -> None:
    """Three that wait for `c` go before one that came earlier for `b`.

    Without a bound the order is that of arrival: nothing would ever bring `b` its turn.
    """
    sim = swapping(seconds_of_work=lambda: 3.0, max_wait=Seconds(bound))
    for model in "abccc":
        sim.arrive(model)
        sim.run(1 if model == "a" else 0)
    sim.run(30)
    assert sim.spawned == order


def test_by_default_small_models_wait_for_each_other_a_short_time() -> None:
    """A steady stream for a model of half a second holds another up for 5 s, not 30."""
    sim = swapping(max_wait=None, seconds_of_work=lambda: 2.0)
    sim.arrive("b")
    sim.run(5)
    sim.arrive("a")
    sim.run(5)
    began = sim.now
    sim.arrive("a")
    waiting = sim.arrive("b", "other")
    while waiting in sim.open and sim.now < began + 30:
        sim.arrive("a")
        sim.run(0.5)
    assert 5 <= sim.now - began <= 5 + 2 + 1


def test_by_default_large_models_wait_longer() -> None:
    """Two models that take five seconds to reload overtake each other for twenty."""
    sim = swapping(max_wait=None, seconds_of_work=lambda: 2.0, server_of=lambda _: SLOW)
    for model in "ba":
        sim.arrive(model)
        sim.run(10)
    began = sim.now
    sim.arrive("a")
    waiting = sim.arrive("b", "other")
    while waiting in sim.open and sim.now < began + 60:
        sim.arrive("a")
        sim.run(0.5)
    assert 20 <= sim.now - began <= 20 + 2 + 5 + 1


def alternate(pause: float) -> list[ModelId]:
    """One client asks `a` again and again, so many seconds after each answer, while another asks `b` once a while."""
    sim = swapping(max_wait=None, seconds_of_work=lambda: 1.0, server_of=lambda _: SLOW)
    for _ in range(3):
        for _ in range(6):
            last = sim.arrive("a", "x")
            while last in sim.open or last in sim.running:
                assert sim.step()
            sim.run(pause)
            if not sim.open:
                sim.arrive("b", "y")
        while sim.open or sim.running:
            assert sim.step()
    return sim.spawned


def test_a_model_is_kept_for_a_client_that_pauses_shortly() -> None:
    """Its run of six requests is not cut by each request for another model; after a long pause it leaves."""
    assert len(alternate(0.2)) < len(alternate(9.0)) - 6


def test_a_kept_model_leaves_when_its_time_is_over() -> None:
    """No event tells that the next request does not come: a timer does."""
    sim = swapping(max_wait=None, seconds_of_work=lambda: 1.0, server_of=lambda _: SLOW)
    sim.arrive("a")
    sim.run(5)
    sim.controller.state(A).pauses.add(0.3)
    waiting = sim.arrive("b")
    sim.run(0.1)
    assert sim.terminated == []
    sim.run(0.6)
    assert sim.terminated == [A]
    sim.run(6)
    assert waiting in sim.granted


class Asked:
    """A policy for one model at a time that writes down how the live models are used."""

    def __init__(self) -> None:
        self.seen: dict[ModelId, Usage] = {}
        self.facts = Facts()

    def __call__(self, question: Question) -> PlacementPlan:
        self.facts = question.facts
        others = [model for model in question.live if model != question.target]
        self.seen |= {model: question.usage(model) for model in others}
        return stop(frozenset(others)) if others else NO_EVICTIONS


def test_policies_are_told_how_models_are_used() -> None:
    """Idle time, rate, running and waiting requests, residence; and how long reloads take."""
    sim = swapping(seconds_of_work=lambda: 2.0, server_of=lambda _: SLOW)
    policy = Asked()
    sim.controller._scheduler.policy = policy
    for _ in range(3):
        sim.arrive("a")
    sim.run(5)
    sim.arrive("b")
    busy = policy.seen[A]
    assert (busy.idle, busy.in_flight, busy.waiting, busy.resident) == (0.0, 3, 0, 1.0)
    assert busy.rate > 0
    assert policy.facts.reload == {A: pytest.approx(5.0)}
    sim.run(20)
    sim.arrive("c")
    idle = policy.seen[B]
    assert (idle.in_flight, idle.waiting) == (0, 0)
    assert idle.idle == pytest.approx(sim.now - sim.controller.state(B).used)
    assert policy.facts.reload == {A: pytest.approx(5.0), B: pytest.approx(5.0)}
