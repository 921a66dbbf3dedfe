"""The scheduler alone: events become decisions, without processes and timers."""

from __future__ import annotations

from modelswap.core.commands import Fail, Grant, LeaseRequest, Reason, SwapDecided
from modelswap.core.failure import Cause, failure
from modelswap.core.models.lifecycle import Phase
from modelswap.core.models.state import ModelState
from modelswap.core.placement.groups import groups_policy
from modelswap.core.placement.policy import ANYWHERE, NO_FACTS, Evict
from modelswap.core.scheduling.decisions import Start, Stop
from modelswap.core.scheduling.scheduler import Scheduler
from modelswap.core.spec import ClientId, ModelId, ModelSpec, RequestId
from modelswap.units import Seconds
from support.controller_simulator import FakeGroup

A, B = ModelId("a"), ModelId("b")
NOW = Seconds(1)
FIRST, SECOND = RequestId(1), RequestId(2)


def states(a: Phase = Phase.STOPPED, b: Phase = Phase.STOPPED) -> dict[ModelId, ModelState]:
    return {A: ModelState(ModelSpec(id=A), a), B: ModelState(ModelSpec(id=B), b)}


def scheduler_of(models: dict[ModelId, ModelState]) -> Scheduler:
    policy = groups_policy([FakeGroup("g", (A, B))])
    return Scheduler(models, policy, max_wait=Seconds(30), queue_limit=1)


def request(model: ModelId) -> LeaseRequest:
    return LeaseRequest(model, ClientId("c"))


def decision(evictions: frozenset[Evict] = frozenset(), why: str = "") -> SwapDecided:
    """Return what is told of the first request's swap."""
    return SwapDecided(
        model=A,
        request=request(A),
        is_own=False,
        evictions=evictions,
        placement=ANYWHERE,
        why=why,
        at=NOW,
        waited=Seconds(0),
        facts=NO_FACTS,
    )


def test_a_ready_model_grants_and_is_clear_for_its_epoch() -> None:
    """A grant counts, and later requests of the same epoch need no decision."""
    models = states(a=Phase.READY)
    scheduler = scheduler_of(models)
    assert scheduler.on_arrived(FIRST, request(A), NOW) == [Grant(FIRST, A)]
    assert models[A].in_flight == 1
    assert models[A].clear_in == scheduler.epoch
    scheduler.forget_swap(B)
    assert models[A].clear_in != scheduler.epoch


def test_a_swap_stops_first_and_starts_after_the_exit() -> None:
    """The victim's exit starts the target; a request beyond the queue's limit is refused."""
    models = states(b=Phase.READY)
    scheduler = scheduler_of(models)
    why = 'group "g" runs one model at a time'
    decided, *stops = scheduler.on_arrived(FIRST, request(A), NOW)
    assert decided == decision(frozenset({Evict(B)}), why)
    assert stops == [Stop(B, f"making room for a ({why})")]
    assert scheduler.on_arrived(SECOND, request(A), NOW) == [
        Fail(SECOND, Reason.QUEUE_FULL, "the queue is full", Seconds(5))
    ]
    models[B].phase = Phase.STOPPED
    assert scheduler.on_stopped(B, NOW) == [Start(A, "there is room now")]
    models[A].phase = Phase.READY
    assert scheduler.on_ready(A, NOW) == [Grant(FIRST, A)]
    assert len(scheduler.queue) == 0


def test_a_failed_start_refuses_its_requests() -> None:
    """The reason and the back-off are in the answer."""
    models = states()
    scheduler = scheduler_of(models)
    assert scheduler.on_arrived(FIRST, request(A), NOW) == [decision(), Start(A, "requested")]
    why = failure(Cause.CRASHED, "signal 11")
    models[A].on_start_failed(why, NOW)
    assert scheduler.on_start_failed(A, why, NOW) == [
        Fail(FIRST, Reason.LOAD_FAILED, "signal 11", Seconds(1), why)
    ]


def test_a_closed_scheduler_refuses_everything() -> None:
    """Queued requests are refused by `close`, new ones at once."""
    scheduler = scheduler_of(states())
    scheduler.on_arrived(FIRST, request(A), NOW)
    assert scheduler.close() == [Fail(FIRST, Reason.SHUTTING_DOWN)]
    assert scheduler.on_arrived(SECOND, request(A), NOW) == (Fail(SECOND, Reason.SHUTTING_DOWN),)
