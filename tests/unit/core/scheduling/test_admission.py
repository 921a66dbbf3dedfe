"""`decide` has one verdict for every situation."""

from __future__ import annotations

from typing import Any

from modelswap.core.commands import LeaseRequest, Reason
from modelswap.core.models.lifecycle import Phase
from modelswap.core.models.state import ModelState
from modelswap.core.placement.at_most import at_most
from modelswap.core.placement.groups import groups_policy
from modelswap.core.placement.policy import (
    Answer,
    DeviceId,
    Evict,
    EvictionMode,
    Facts,
    NeverFits,
    NotYet,
    Placement,
    PlacementPlan,
    Policy,
    Question,
    stop,
)
from modelswap.core.scheduling.admission import (
    LATER,
    SOON,
    ClusterView,
    Refuse,
    Serve,
    Swap,
    Verdict,
    Wait,
    WaitReason,
    decide,
)
from modelswap.core.scheduling.queue import WaitQueue
from modelswap.core.spec import ClientId, ModelId, ModelSpec, RequestId
from modelswap.units import Seconds
from support.controller_simulator import FakeGroup
from support.memory_questions import RAM_ONLY

A, B, C = ModelId("a"), ModelId("b"), ModelId("c")
CLIENT = ClientId("c")
SWAPPING = groups_policy([FakeGroup("ab", (A, B)), FakeGroup("c", (C,), exclusive=False)])
SWAP_B = Swap(frozenset({Evict(B)}))
UP, DOWN = Phase.READY, Phase.STOPPED


def ask(
    a: Phase = DOWN,
    b: Phase = DOWN,
    *,
    running: tuple[int, int] = (0, 0),
    pending: str = "",
    draining: str = "",
    abandoned: str = "",
    blocking: str = "",
    limit: int | None = None,
    is_new: bool = False,
    no_swap: bool = False,
    policy: Policy = SWAPPING,
) -> Verdict:
    """Ask for `a` beside `b`."""
    states = {
        A: ModelState(ModelSpec(id=A, concurrency=limit), a, running[0]),
        B: ModelState(ModelSpec(id=B), b, running[1]),
        C: ModelState(ModelSpec(id=C)),
    }
    view = ClusterView(
        states=states,
        alive={model for model, state in states.items() if state.is_alive},
        pending={ModelId(m) for m in pending},
        draining={ModelId(m) for m in draining},
        abandoned={ModelId(m) for m in abandoned},
        now=Seconds(0),
        facts=Facts(epoch=7),
    )
    request = LeaseRequest(A, CLIENT, no_swap=no_swap)
    return decide(request, view, policy, [ModelId(m) for m in blocking], is_new=is_new)


def test_ready_and_free_is_served() -> None:
    """A ready model below its limit serves; above it newcomers are refused and the others wait."""
    assert ask(UP) == Serve()
    assert ask(UP, limit=2, running=(1, 0)) == Serve()
    assert ask(UP, limit=2, running=(2, 0)) == Wait(WaitReason.FULL)
    full = ask(UP, limit=2, running=(2, 0), is_new=True)
    assert full == Refuse(Reason.OVER_LIMIT, "Too many requests", SOON)


def test_a_stopped_model_starts() -> None:
    """A stopped model starts beside what may stay, and in the place of what may not."""
    assert ask() == Swap()
    assert ask(b=UP) == SWAP_B
    assert ask(b=Phase.STOPPING, running=(0, 1)) == SWAP_B
    assert ask(b=Phase.STARTING, pending="b", abandoned="b") == SWAP_B


def test_waits() -> None:
    """Each reason to wait comes from the situation its name describes."""
    assert ask(b=UP, running=(0, 1)) == Wait(WaitReason.BUSY)
    assert ask(b=Phase.STARTING, pending="b") == Wait(WaitReason.SETTLING)
    assert ask(Phase.STARTING, pending="a") == Wait(WaitReason.LOADING)
    assert ask(Phase.STOPPING) == Wait(WaitReason.LEAVING)
    assert ask(UP, draining="a") == Wait(WaitReason.LEAVING)


def test_older_requests_block_only_what_they_need() -> None:
    """An older request blocks others where it has to evict their model, and nowhere else."""
    assert ask(UP, blocking="b") == Wait(WaitReason.HELD)
    assert ask(UP, blocking="ac") == Serve()
    assert ask(b=UP, blocking="b") == Wait(WaitReason.HELD)


def test_the_model_of_an_older_request_is_not_evicted() -> None:
    """The model that an older request waits for is not stopped for a younger one."""

    def a_alone(question: Question) -> PlacementPlan:
        return stop(frozenset(question.live) - {A} if question.target == A else frozenset())

    assert ask(b=UP, blocking="b", policy=a_alone) == Wait(WaitReason.HELD)


def test_without_a_swap() -> None:
    """A load for which others would have to leave is refused; any other goes on as always."""
    refused = Refuse(Reason.WOULD_SWAP, "b")
    assert ask(b=UP, no_swap=True) == refused
    assert ask(b=UP, running=(0, 1), no_swap=True) == refused
    assert ask(b=UP, blocking="b", no_swap=True) == refused
    assert ask(b=Phase.STARTING, pending="b", no_swap=True) == refused
    assert ask(b=Phase.STARTING, pending="b", abandoned="b", no_swap=True) == refused
    assert ask(pending="b", no_swap=True) == refused
    assert ask(no_swap=True) == Swap()
    assert ask(UP, no_swap=True) == Serve()
    assert ask(UP, limit=1, running=(1, 0), no_swap=True) == Wait(WaitReason.FULL)
    assert ask(Phase.STARTING, pending="a", no_swap=True) == Wait(WaitReason.LOADING)
    assert ask(pending="a", b=Phase.STOPPING, draining="b", no_swap=True) == Wait(
        WaitReason.LOADING
    )
    assert ask(Phase.STOPPING, pending="b", no_swap=True) == Wait(WaitReason.LEAVING)


def test_without_a_swap_what_leaves_anyway_does_not_count() -> None:
    """A model that stops for others needs no eviction."""
    assert ask(b=Phase.STOPPING, no_swap=True) == SWAP_B
    assert ask(b=UP, draining="b", running=(0, 1), no_swap=True) == Wait(WaitReason.BUSY)


def test_without_a_swap_a_ready_model_is_used_beside_the_others() -> None:
    """Where the policy would evict others for a model that runs already, none is evicted."""
    assert ask(UP, b=UP) == SWAP_B
    assert ask(UP, b=UP, no_swap=True) == Serve()
    never = ask(policy=lambda _: NeverFits("too big"), no_swap=True)
    assert never == Refuse(Reason.NEVER_FITS, "too big")


def test_refusals() -> None:
    """A request that waiting cannot help is refused at once."""
    assert ask(policy=lambda _: NeverFits("too big")) == Refuse(Reason.NEVER_FITS, "too big")
    killed = "was killed but does not exit"
    assert ask(Phase.STUCK) == Refuse(Reason.LOAD_FAILED, f"a {killed}", LATER)
    assert ask(b=Phase.STUCK) == Refuse(Reason.LOAD_FAILED, f"b {killed}", LATER)
    nowhere = ClusterView(
        states={}, alive=set(), pending=set(), draining=set(), abandoned=set(), now=Seconds(0)
    )
    unknown = decide(LeaseRequest(A, CLIENT), nowhere, SWAPPING)
    assert unknown == Refuse(Reason.NO_SUCH_MODEL, "no such model: a")


def test_a_swap_carries_placement_and_manner() -> None:
    """What the policy says about where to run and how to evict is in the verdict, with the facts it saw."""
    seen: list[Facts] = []
    where = Placement(devices=(DeviceId("gpu0"),))
    asleep = frozenset({Evict(B, EvictionMode.SLEEP)})

    def policy(question: Question) -> PlacementPlan:
        seen.append(question.facts)
        return PlacementPlan(asleep if question.live else frozenset(), where)

    assert ask(policy=policy) == Swap(placement=where)
    assert ask(b=UP, policy=policy) == Swap(asleep, where)
    assert {facts.epoch for facts in seen} == {7}


def asked(view: ClusterView, answer: NotYet, *, arrived: float | None = None) -> Verdict:
    request = LeaseRequest(A, CLIENT)
    queued = None
    if arrived is not None:
        bound = Seconds(30)
        queued = WaitQueue().add(RequestId(1), request, 0, Seconds(arrived), bound)
    return decide(request, view, lambda _: answer, queued=queued)


def view_of(*, now: float = 100, **more: Any) -> ClusterView:
    fields: dict[str, Any] = {"alive": set(), "pending": set(), "draining": set()}
    states = {model: ModelState(ModelSpec(id=model)) for model in (A, B, C)}
    fields |= {"states": states, "abandoned": set(), "now": Seconds(now)}
    return ClusterView(**(fields | more))


def test_waiting_for_room() -> None:
    """A request waits until the answer may be another one; it is refused when its patience ends."""
    foreign = NotYet("vllm holds it", refuse_after=Seconds(60))
    room = WaitReason.NO_ROOM
    assert asked(view_of(), NotYet("b is new")) == Wait(room)
    assert asked(view_of(), NotYet("b is new", Seconds(2))) == Wait(room, Seconds(102))
    assert asked(view_of(), foreign) == Wait(room, Seconds(160))
    assert asked(view_of(short_since={A: Seconds(50)}), foreign) == Wait(room, Seconds(160))
    since = view_of(short_since={A: Seconds(50)})
    assert asked(since, foreign, arrived=30) == Wait(room, Seconds(110))
    assert asked(since, foreign, arrived=70) == Wait(room, Seconds(130))
    long_since = view_of(short_since={A: Seconds(40)})
    assert asked(long_since, foreign, arrived=30) == Refuse(Reason.NO_ROOM, "vllm holds it", LATER)
    both = NotYet("both", Seconds(5), Seconds(60))
    assert asked(since, both, arrived=30) == Wait(room, Seconds(105))


def test_a_request_without_swap_may_wait_for_room() -> None:
    """No model has to leave for it."""
    request = LeaseRequest(A, CLIENT, no_swap=True)
    verdict = decide(request, view_of(), lambda _: NotYet("later"))
    assert verdict == Wait(WaitReason.NO_ROOM)


def test_a_model_without_room_holds_nobody_up() -> None:
    """Requests for others go on while an overdue one waits for memory that others hold."""
    states = {A: ModelState(ModelSpec(id=A), UP), B: ModelState(ModelSpec(id=B))}
    answers: dict[ModelId, Answer] = {A: PlacementPlan(), B: NotYet("later")}
    view = view_of(states=states, alive={A})
    verdict = decide(LeaseRequest(A, CLIENT), view, lambda q: answers[q.target], [B])
    assert verdict == Serve()


def test_the_question_says_what_becomes_of_the_others() -> None:
    """Where devices are known: who leaves, who does not exit, who loads, and whether the request is overdue."""
    d = ModelId("d")
    phases = {A: Phase.STOPPING, B: Phase.STUCK, C: UP, d: Phase.STARTING}
    states = {m: ModelState(ModelSpec(id=m), phase) for m, phase in phases.items()}
    view = view_of(
        states=states,
        alive={A, B, C, d},
        draining={B, C},
        pending={A, d},
        abandoned={A},
        facts=Facts(pools=RAM_ONLY),
    )
    question = view.question(A, [A, B, C, d], is_overdue=True)
    assert question.leaving == {A, C}
    assert question.stuck == {B}
    assert question.loading == {d}
    assert question.is_overdue


def test_a_bound_on_their_number_knows_who_leaves_anyway() -> None:
    """Also where no memory is known: of two models, the one that is stopping makes the place, not the older one."""
    states = {
        A: ModelState(ModelSpec(id=A)),
        B: ModelState(ModelSpec(id=B), UP, used=Seconds(1)),
        C: ModelState(ModelSpec(id=C), Phase.STOPPING, used=Seconds(2)),
    }
    view = ClusterView(
        states=states,
        alive={B, C},
        pending=set(),
        draining=set(),
        abandoned=set(),
        now=Seconds(3),
    )
    assert decide(LeaseRequest(A, CLIENT), view, at_most(2)) == Swap(frozenset({Evict(C)}))
