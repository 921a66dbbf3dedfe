"""Requests: which one is served when, on virtual time."""

from __future__ import annotations

from math import inf

import pytest

from modelswap.core.commands import Fail, Grant, Reason, SetTimer, TimerKey
from modelswap.core.controller import AccountingError
from modelswap.core.models.lifecycle import Phase, Timer
from modelswap.core.spec import ModelId, RequestId
from modelswap.units import Seconds
from support.controller_simulator import (
    FakeGroup,
    FakeServer,
    group,
    reasons,
    spec,
    specs,
    swapping,
)

A, B, C = ModelId("a"), ModelId("b"), ModelId("c")
ALL_TOGETHER = (group("abc", swap=False),)


def test_requests_are_batched_by_model() -> None:
    """A B C A B C is served A A B B C C, with one start each."""
    sim = swapping()
    ids = {sim.arrive(m, f"client {n}"): m for n, m in enumerate("abcabc")}
    sim.run(20)
    assert "".join(ids[i] for i in sim.granted) == "aabbcc"
    assert sim.spawned == [A, B, C]


def test_a_hundred_cold_requests_make_one_start() -> None:
    """All requests that wait for one load are granted when it ends."""
    sim = swapping()
    ids = [sim.arrive("a") for _ in range(100)]
    sim.run(0.5)
    assert sorted(sim.granted) == ids
    assert sim.spawned == [A]


def test_models_that_fit_load_in_parallel() -> None:
    """Two models that may run together start at once."""
    sim = swapping(groups=ALL_TOGETHER)
    sim.arrive("a")
    sim.arrive("b")
    assert sim.spawned == [A, B]


def test_a_swap_waits_for_running_requests() -> None:
    """The victim is asked to leave when its last request has ended, not before."""
    sim = swapping(seconds_of_work=lambda: 10.0)
    sim.arrive("a")
    sim.run(1)
    sim.arrive("b")
    sim.run(9)
    assert sim.terminated == []
    sim.run(2)
    assert sim.terminated == [A]
    assert sim.controller.phase(B) is Phase.READY


def test_the_bound_on_overtaking() -> None:
    """A stream of requests for a ready model keeps another one waiting for the bound, no longer."""
    sim = swapping(seconds_of_work=lambda: 2.0)
    sim.arrive("a")
    sim.run(1)
    waiting = sim.arrive("b", "other")
    for _ in range(35):
        sim.arrive("a")
        sim.run(1)
    assert 30 <= sim.granted.index(waiting) <= 31
    sim.run(10)
    assert not sim.open
    assert sim.spawned == [A, B, A]


def test_without_a_bound_the_ready_model_wins() -> None:
    """`maxWait: 0` in the file is an infinite bound: none."""
    sim = swapping(max_wait=Seconds(inf), seconds_of_work=lambda: 2.0)
    sim.arrive("a")
    sim.run(1)
    waiting = sim.arrive("b")
    for _ in range(100):
        sim.arrive("a")
        sim.run(1)
    assert waiting in sim.open


def test_the_limit_refuses_newcomers_only() -> None:
    """Cold requests over the limit wait for a slot; a newcomer to the full model is refused."""
    sim = swapping(specs=specs(a=spec(A, concurrency=2)), seconds_of_work=lambda: 1.0)
    cold = [sim.arrive("a") for _ in range(5)]
    sim.run(0.6)
    assert len(sim.granted) == 2
    assert sim.controller.in_flight(A) == 2
    assert sim.controller.waiting(A) == 3
    over = sim.arrive("a")
    assert reasons(sim, over) == [Reason.OVER_LIMIT]
    sim.run(5)
    assert sorted(sim.granted) == cold


def test_a_full_queue_refuses() -> None:
    """Beyond the limit of the queue a request is refused."""
    sim = swapping(queue_limit=2)
    ids = [sim.arrive("a") for _ in range(3)]
    assert reasons(sim, ids[2]) == [Reason.QUEUE_FULL]
    assert list(sim.open) == ids[:2]


def test_higher_priority_goes_first() -> None:
    """Among those that wait, the model of higher priority is loaded first."""
    sim = swapping(specs=specs(c=spec(C, priority=5)))
    sim.arrive("a")
    sim.arrive("b")
    sim.arrive("c")
    sim.run(20)
    assert sim.spawned == [A, C, B]


def test_a_flood_delays_others_by_one_turn() -> None:
    """Behind a limit of one, a second client's request is next but one, whatever the first piled up."""
    sim = swapping(specs=specs(a=spec(A, concurrency=1)))
    for _ in range(50):
        sim.arrive("a", "flooder")
    other = sim.arrive("a", "other")
    sim.run(2)
    assert other in sim.granted[:3]
    sim.run(60)
    assert not sim.open


def test_a_request_without_swap_is_refused_from_the_queue() -> None:
    """One that waits for a ready model is refused when another model has replaced it meanwhile."""
    sim = swapping(specs=specs(a=spec(A, concurrency=1)), max_wait=Seconds(1))
    sim.seconds_of_work = lambda: 3.0
    sim.arrive("a")
    sim.run(1)
    other = sim.arrive("b")
    sim.run(1.5)
    waits = sim.arrive("a", no_swap=True)
    assert waits in sim.open
    sim.run(20)
    assert reasons(sim, other, waits) == [None, Reason.WOULD_SWAP]
    assert sim.spawned == [A, B]
    answer = sim.answers[waits]
    assert isinstance(answer, Fail)
    assert answer.detail == "b"


def test_a_request_without_swap_starts_what_has_room() -> None:
    """Alone it loads its model; beside another it is refused at once; behind a load it waits for that."""
    sim = swapping()
    first = sim.arrive("a", no_swap=True)
    second = sim.arrive("b", no_swap=True)
    assert reasons(sim, second) == [Reason.WOULD_SWAP]
    sim.run(5)
    assert reasons(sim, first) == [None]
    loads = sim.arrive("b")
    joins = sim.arrive("b", no_swap=True)
    sim.run(5)
    assert reasons(sim, loads, joins) == [None, None]
    assert sim.spawned == [A, B]


def test_background_waits_for_the_others() -> None:
    """A background request neither overtakes a waiting one nor takes its model."""
    sim = swapping(seconds_of_work=lambda: 5.0)
    sim.arrive("a")
    sim.run(1)
    foreground = sim.arrive("b")
    background = sim.arrive("a", background=True)
    assert {foreground, background} == sim.open.keys()
    sim.run(30)
    assert sim.granted[1:] == [foreground, background]


def test_a_background_request_alone_is_served() -> None:
    """Alone, a background request loads its model and is granted like any other."""
    sim = swapping()
    first = sim.arrive("a", background=True)
    sim.run(1)
    again = sim.arrive("a", background=True)
    assert sim.granted == [first, again]


def test_a_background_load_gives_way_to_the_others() -> None:
    """A foreground request that came during a background load is served first when it ends."""
    sim = swapping()
    background = sim.arrive("a", background=True)
    sim.run(0.1)
    foreground = sim.arrive("b")
    sim.run(20)
    assert sim.granted == [foreground, background]


def test_cancelling_a_blocking_request_serves_the_others() -> None:
    """When the last request that blocked others is cancelled, they are decided anew."""
    sim = swapping(seconds_of_work=lambda: 5.0)
    sim.arrive("a")
    sim.run(1)
    foreground = sim.arrive("b")
    background = sim.arrive("a", background=True)
    sim.leave(foreground)
    assert background in sim.granted


def test_a_load_goes_on_without_its_client() -> None:
    """A client that leaves does not undo the load it began."""
    sim = swapping()
    sim.leave(sim.arrive("a"))
    sim.run(1)
    assert sim.controller.phase(A) is Phase.READY


def test_a_load_not_begun_is_dropped_with_its_client() -> None:
    """A swap that still waits for an exit is dropped with its last request."""
    sim = swapping(server_of=lambda _: FakeServer(stops_in=1.0))
    sim.arrive("a")
    sim.run(2)
    unwanted = sim.arrive("b")
    sim.run(0.5)
    sim.leave(unwanted)
    sim.run(5)
    assert sim.spawned == [A]


def test_an_abandoned_load_gives_way() -> None:
    """A model that starts without a waiting request is stopped for one that is wanted."""
    sim = swapping(server_of=lambda _: FakeServer(starts_in=60.0, stops_in=0.1))
    sim.leave(sim.arrive("a"))
    sim.arrive("b")
    sim.run(1)
    assert sim.spawned == [A, B]


def test_cancelling_an_unknown_request_does_nothing() -> None:
    """A request that is not waiting cannot be cancelled."""
    assert swapping().controller.on_cancelled(RequestId(99), Seconds(0)) == ()


def test_positions_are_reported_to_watched_requests() -> None:
    """A watched request hears of each new position; one whose model is loading has none."""
    sim = swapping(seconds_of_work=lambda: 5)
    loading = sim.arrive("a", watched=True)
    first = sim.arrive("b", "x", watched=True)
    second = sim.arrive("c", "y", watched=True)
    sim.arrive("c", "z")
    assert sim.positions == {first: 1, second: 2}
    assert loading not in sim.controller.positions()
    sim.leave(first)
    assert sim.positions == {second: 1}


def test_the_fast_path_refuses_what_it_cannot_decide() -> None:
    """Unknown, stopped, full or blocked models are never served by `serve_now`."""
    sim = swapping(specs=specs(a=spec(A, concurrency=1)))
    assert not sim.controller.serve_now(ModelId("z"))
    assert not sim.controller.serve_now(A)
    sim.arrive("a")
    sim.run(2)
    sim.arrive("a")
    sim.run(2)
    assert sim.controller.serve_now(A)
    assert not sim.controller.serve_now(A)


def test_ending_more_than_was_granted_is_a_bug() -> None:
    """An end without a grant raises where it happens."""
    with pytest.raises(AccountingError, match="than ran on a"):
        swapping().controller.on_finished(A, Seconds(0))


def test_early_and_unknown_timers_change_nothing() -> None:
    """An unknown timer is ignored; one that fires early is set again."""
    sim = swapping()
    key = TimerKey(Timer.START, A)
    assert sim.controller.on_timer(key, sim.clock()) == ()
    sim.arrive("a")
    at = Seconds(sim.timers[key])
    assert sim.controller.on_timer(key, Seconds(at - 1)) == [SetTimer(key, at)]


def test_a_leap_of_the_clock_is_survived() -> None:
    """After a suspension of hours the timers fire late, and requests are served."""
    sim = swapping(specs=specs(a=spec(A, ttl=Seconds(10))))
    sim.arrive("a")
    sim.run(1)
    waiting = sim.arrive("b")
    sim.now += 50_000
    sim.run(5)
    assert waiting in sim.granted


def test_a_ready_model_that_evicts_others_is_not_started_twice() -> None:
    """An exclusive model that is ready evicts a later one, then serves without a new start."""
    groups = (FakeGroup("one", (A,)), FakeGroup("two", (B,), exclusive=False))
    sim = swapping(groups=groups, server_of=lambda _: FakeServer(stops_in=1.0))
    sim.arrive("a")
    sim.run(1)
    sim.arrive("b")
    sim.run(2)
    again = sim.arrive("a")
    assert again not in sim.granted
    assert sim.terminated == [B]
    sim.run(2)
    assert again in sim.granted
    assert sim.spawned == [A, B]


def test_an_answer_names_its_request() -> None:
    """A grant carries the request's id and the model that serves it."""
    sim = swapping()
    id_ = sim.arrive("a")
    sim.run(1)
    assert sim.answers[id_] == Grant(id_, A)
