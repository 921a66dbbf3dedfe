"""Requests: who is served when, shown on virtual time."""

from __future__ import annotations

import pytest

from modelswap.core.commands import Fail, Grant, Reason, SetTimer, TimerKey
from modelswap.core.controller import AccountingError
from modelswap.core.models.lifecycle import Phase, Timer
from modelswap.core.spec import ModelId, RequestId
from modelswap.units import Seconds
from support.controller_simulator import FakeGroup, Server, group, reasons, spec, specs, swapping

A, B, C = ModelId("a"), ModelId("b"), ModelId("c")
ALL_TOGETHER = (group("abc", swap=False),)


def test_requests_are_batched_by_model() -> None:
    """A B C A B C is served A A B B C C, with one start each."""
    world = swapping()
    ids = {world.arrive(m, f"client {n}"): m for n, m in enumerate("abcabc")}
    world.run(20)
    assert "".join(ids[i] for i in world.granted) == "aabbcc"
    assert world.spawned == [A, B, C]


def test_a_hundred_cold_requests_make_one_start() -> None:
    """All who wait for one load are granted when it ends."""
    world = swapping()
    ids = [world.arrive("a") for _ in range(100)]
    world.run(0.5)
    assert sorted(world.granted) == ids
    assert world.spawned == [A]


def test_models_that_fit_load_in_parallel() -> None:
    """Two models that may run together start at once."""
    world = swapping(groups=ALL_TOGETHER)
    world.arrive("a")
    world.arrive("b")
    assert world.spawned == [A, B]


def test_a_swap_waits_for_running_requests() -> None:
    """The victim is asked to leave when its last request has ended, not before."""
    world = swapping(seconds_of_work=lambda: 10.0)
    world.arrive("a")
    world.run(1)
    world.arrive("b")
    world.run(9)
    assert world.terminated == []
    world.run(2)
    assert world.terminated == [A]
    assert world.controller.phase(B) is Phase.READY


def test_the_bound_on_overtaking() -> None:
    """A stream of requests for a ready model keeps another one waiting for the bound, no longer."""
    world = swapping(seconds_of_work=lambda: 2.0)
    world.arrive("a")
    world.run(1)
    waiting = world.arrive("b", "patient")
    for _ in range(35):
        world.arrive("a")
        world.run(1)
    assert 30 <= world.granted.index(waiting) <= 31
    world.run(10)
    assert not world.open
    assert world.spawned == [A, B, A]


def test_without_a_bound_the_ready_model_wins() -> None:
    """`maxWait: 0` in the file means that overtaking has no bound."""
    world = swapping(max_wait=None, seconds_of_work=lambda: 2.0)
    world.arrive("a")
    world.run(1)
    waiting = world.arrive("b")
    for _ in range(100):
        world.arrive("a")
        world.run(1)
    assert waiting in world.open


def test_the_limit_refuses_newcomers_only() -> None:
    """Cold requests over the limit wait for a slot; a newcomer to the full model is refused."""
    world = swapping(specs=specs(a=spec(A, concurrency=2)), seconds_of_work=lambda: 1.0)
    cold = [world.arrive("a") for _ in range(5)]
    world.run(0.6)
    assert len(world.granted) == 2
    assert world.controller.in_flight(A) == 2
    assert world.controller.waiting(A) == 3
    over = world.arrive("a")
    assert reasons(world, over) == [Reason.OVER_LIMIT]
    world.run(5)
    assert sorted(world.granted) == cold


def test_a_full_queue_refuses() -> None:
    """Beyond the bound of the queue a request is told to come later."""
    world = swapping(queue_limit=2)
    ids = [world.arrive("a") for _ in range(3)]
    assert reasons(world, ids[2]) == [Reason.QUEUE_FULL]
    assert list(world.open) == ids[:2]


def test_higher_priority_goes_first() -> None:
    """Among those that wait, the model of higher priority is loaded first."""
    world = swapping(specs=specs(c=spec(C, priority=5)))
    world.arrive("a")
    world.arrive("b")
    world.arrive("c")
    world.run(20)
    assert world.spawned == [A, C, B]


def test_a_flood_delays_others_by_one_turn() -> None:
    """Behind a limit of one, a second client's request is next but one, whatever the first piled up."""
    world = swapping(specs=specs(a=spec(A, concurrency=1)))
    for _ in range(50):
        world.arrive("a", "flooder")
    other = world.arrive("a", "other")
    world.run(2)
    assert other in world.granted[:3]
    world.run(60)
    assert not world.open


def test_a_request_without_swap_is_refused_from_the_queue() -> None:
    """One that waits for a ready model is refused when others have taken the room meanwhile."""
    world = swapping(specs=specs(a=spec(A, concurrency=1)), max_wait=Seconds(1))
    world.seconds_of_work = lambda: 3.0
    world.arrive("a")
    world.run(1)
    other = world.arrive("b")
    world.run(1.5)
    waits = world.arrive("a", no_swap=True)
    assert waits in world.open
    world.run(20)
    assert reasons(world, other, waits) == [None, Reason.WOULD_SWAP]
    assert world.spawned == [A, B]
    answer = world.answers[waits]
    assert isinstance(answer, Fail)
    assert answer.detail == "b"


def test_a_request_without_swap_starts_what_has_room() -> None:
    """Alone it loads its model; beside another it is refused at once; behind a load it waits for that."""
    world = swapping()
    first = world.arrive("a", no_swap=True)
    second = world.arrive("b", no_swap=True)
    assert reasons(world, second) == [Reason.WOULD_SWAP]
    world.run(5)
    assert reasons(world, first) == [None]
    loads = world.arrive("b")
    joins = world.arrive("b", no_swap=True)
    world.run(5)
    assert reasons(world, loads, joins) == [None, None]
    assert world.spawned == [A, B]


def test_background_waits_for_the_others() -> None:
    """A background request neither overtakes a waiting one nor takes its model."""
    world = swapping(seconds_of_work=lambda: 5.0)
    world.arrive("a")
    world.run(1)
    front = world.arrive("b")
    behind = world.arrive("a", background=True)
    assert {front, behind} == world.open.keys()
    world.run(30)
    assert world.granted[1:] == [front, behind]


def test_background_is_served_when_nobody_else_is_there() -> None:
    """Alone, a background request loads its model and is granted like any other."""
    world = swapping()
    first = world.arrive("a", background=True)
    world.run(1)
    again = world.arrive("a", background=True)
    assert world.granted == [first, again]


def test_a_background_load_is_given_up_to_the_others() -> None:
    """Somebody in the foreground who came during a background load goes first when it ends."""
    world = swapping()
    behind = world.arrive("a", background=True)
    world.run(0.1)
    front = world.arrive("b")
    world.run(20)
    assert world.granted == [front, behind]


def test_cancelling_the_holder_lets_the_others_go() -> None:
    """When the last one who held others up leaves, they are decided anew."""
    world = swapping(seconds_of_work=lambda: 5.0)
    world.arrive("a")
    world.run(1)
    front = world.arrive("b")
    behind = world.arrive("a", background=True)
    world.leave(front)
    assert behind in world.granted


def test_a_load_goes_on_without_its_client() -> None:
    """A client that leaves does not undo the load it began."""
    world = swapping()
    world.leave(world.arrive("a"))
    world.run(1)
    assert world.controller.phase(A) is Phase.READY


def test_a_load_not_begun_is_dropped_with_its_client() -> None:
    """A swap that still waits for the others' exit is dropped when nobody wants it any more."""
    world = swapping(server_of=lambda _: Server(leaves_in=1.0))
    world.arrive("a")
    world.run(2)
    unwanted = world.arrive("b")
    world.run(0.5)
    world.leave(unwanted)
    world.run(5)
    assert world.spawned == [A]


def test_an_abandoned_load_gives_way() -> None:
    """A model that still starts, and that nobody waits for, is stopped for one that is wanted."""
    world = swapping(server_of=lambda _: Server(starts_in=60.0, leaves_in=0.1))
    world.leave(world.arrive("a"))
    world.arrive("b")
    world.run(1)
    assert world.spawned == [A, B]


def test_cancelling_a_stranger_does_nothing() -> None:
    """A request that is not waiting cannot be cancelled."""
    assert swapping().controller.on_cancelled(RequestId(99), Seconds(0)) == ()


def test_positions_are_told_to_who_watches() -> None:
    """A watched request hears its place whenever it changes; who waits for its load has none."""
    world = swapping(seconds_of_work=lambda: 5)
    loading = world.arrive("a", watched=True)
    first = world.arrive("b", "x", watched=True)
    second = world.arrive("c", "y", watched=True)
    world.arrive("c", "z")
    assert world.positions == {first: 1, second: 2}
    assert loading not in world.controller.positions()
    world.leave(first)
    assert world.positions == {second: 1}


def test_the_fast_path_says_no_when_it_must() -> None:
    """Unknown, cold, full or held-back models are never served by the short way."""
    world = swapping(specs=specs(a=spec(A, concurrency=1)))
    assert not world.controller.serve_now(ModelId("z"))
    assert not world.controller.serve_now(A)
    world.arrive("a")
    world.run(2)
    world.arrive("a")
    world.run(2)
    assert world.controller.serve_now(A)
    assert not world.controller.serve_now(A)


def test_ending_more_than_was_granted_is_a_bug() -> None:
    """A slip in the owner's accounts is named where it happens."""
    with pytest.raises(AccountingError, match="than ran on a"):
        swapping().controller.on_finished(A, Seconds(0))


def test_timers_that_come_early_or_late_do_no_harm() -> None:
    """An unknown timer is nothing; one that fires early is set again."""
    world = swapping()
    key = TimerKey(Timer.START, A)
    assert world.controller.on_timer(key, world.clock()) == ()
    world.arrive("a")
    at = Seconds(world.timers[key])
    assert world.controller.on_timer(key, Seconds(at - 1)) == [SetTimer(key, at)]


def test_a_leap_of_the_clock_is_survived() -> None:
    """After hours of sleep the timers come late, and everything goes on."""
    world = swapping(specs=specs(a=spec(A, ttl=Seconds(10))))
    world.arrive("a")
    world.run(1)
    waiting = world.arrive("b")
    world.now += 50_000
    world.run(5)
    assert waiting in world.granted


def test_a_ready_model_whose_neighbours_leave_is_not_started_twice() -> None:
    """An exclusive model that is ready sends a latecomer away, then serves: no new start."""
    groups = (FakeGroup("one", (A,)), FakeGroup("two", (B,), exclusive=False))
    world = swapping(groups=groups, server_of=lambda _: Server(leaves_in=1.0))
    world.arrive("a")
    world.run(1)
    world.arrive("b")
    world.run(2)
    again = world.arrive("a")
    assert again not in world.granted
    assert world.terminated == [B]
    world.run(2)
    assert again in world.granted
    assert world.spawned == [A, B]


def test_an_answer_names_its_request() -> None:
    """A grant carries the request's id and the model that serves it."""
    world = swapping()
    id_ = world.arrive("a")
    world.run(1)
    assert world.answers[id_] == Grant(id_, A)
