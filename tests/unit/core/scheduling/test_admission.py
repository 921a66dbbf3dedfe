"""`decide` has one verdict for every situation."""

from __future__ import annotations

from modelswap.core.commands import Reason
from modelswap.core.models.lifecycle import Phase
from modelswap.core.models.state import ModelState
from modelswap.core.placement.groups import groups_policy
from modelswap.core.placement.policy import (
    DeviceId,
    Evict,
    EvictionMode,
    Facts,
    NeverFits,
    Placement,
    PlacementPlan,
    Policy,
    Question,
    stop,
)
from modelswap.core.scheduling.admission import (
    LATER,
    SOON,
    AdmissionRequest,
    ClusterView,
    Refuse,
    Serve,
    Swap,
    Verdict,
    Wait,
    WaitReason,
    decide,
)
from modelswap.core.spec import ModelId, ModelSpec
from modelswap.units import Seconds
from support.controller_simulator import FakeGroup

A, B, C = ModelId("a"), ModelId("b"), ModelId("c")
SWAPPING = groups_policy([FakeGroup("ab", (A, B)), FakeGroup("c", (C,), exclusive=False)])
SWAP_B = Swap(frozenset({Evict(B)}))
UP, DOWN = Phase.READY, Phase.STOPPED


def ask(
    a: Phase = DOWN,
    b: Phase = DOWN,
    *,
    running: tuple[int, int] = (0, 0),
    coming: str = "",
    leaving: str = "",
    abandoned: str = "",
    rivals: str = "",
    limit: int | None = None,
    is_new: bool = False,
    no_swap: bool = False,
    policy: Policy = SWAPPING,
) -> Verdict:
    """Ask for `a` beside `b`."""
    seats = {
        A: ModelState(ModelSpec(id=A, concurrency=limit), a, running[0]),
        B: ModelState(ModelSpec(id=B), b, running[1]),
        C: ModelState(ModelSpec(id=C)),
    }
    world = ClusterView(
        seats=seats,
        coming={ModelId(m) for m in coming},
        leaving={ModelId(m) for m in leaving},
        abandoned={ModelId(m) for m in abandoned},
        now=Seconds(0),
        facts=Facts(epoch=7),
    )
    question = AdmissionRequest(
        model=A, rivals=tuple(ModelId(m) for m in rivals), is_new=is_new, no_swap=no_swap
    )
    return decide(question, world, policy)


def test_ready_and_free_is_served() -> None:
    """A ready model below its limit serves; above it newcomers are refused and the others wait."""
    assert ask(UP) == Serve()
    assert ask(UP, limit=2, running=(1, 0)) == Serve()
    assert ask(UP, limit=2, running=(2, 0)) == Wait(WaitReason.FULL)
    full = ask(UP, limit=2, running=(2, 0), is_new=True)
    assert full == Refuse(Reason.OVER_LIMIT, "Too many requests", SOON)


def test_stopped_is_started_in_the_room_there_is() -> None:
    """A stopped model starts beside what may stay, and in the place of what may not."""
    assert ask() == Swap()
    assert ask(b=UP) == SWAP_B
    assert ask(b=Phase.STOPPING, running=(0, 1)) == SWAP_B
    assert ask(b=Phase.STARTING, coming="b", abandoned="b") == SWAP_B


def test_waits() -> None:
    """Each reason to wait comes from the situation its name describes."""
    assert ask(b=UP, running=(0, 1)) == Wait(WaitReason.BUSY)
    assert ask(b=Phase.STARTING, coming="b") == Wait(WaitReason.SETTLING)
    assert ask(Phase.STARTING, coming="a") == Wait(WaitReason.LOADING)
    assert ask(Phase.STOPPING) == Wait(WaitReason.LEAVING)
    assert ask(UP, leaving="a") == Wait(WaitReason.LEAVING)


def test_rivals_hold_only_what_they_need() -> None:
    """An older request holds others back where it needs their room, and nowhere else."""
    assert ask(UP, rivals="b") == Wait(WaitReason.HELD)
    assert ask(UP, rivals="ac") == Serve()
    assert ask(b=UP, rivals="b") == Wait(WaitReason.HELD)


def test_a_rivals_model_is_not_evicted() -> None:
    """What an older request waits for is not stopped for a younger one, whatever the policy."""

    def a_alone(question: Question) -> PlacementPlan:
        return stop(frozenset(question.live) - {A} if question.target == A else frozenset())

    assert ask(b=UP, rivals="b", policy=a_alone) == Wait(WaitReason.HELD)


def test_without_a_swap() -> None:
    """A load for which others would have to leave is refused; any other goes on as always."""
    refused = Refuse(Reason.WOULD_SWAP, "b")
    assert ask(b=UP, no_swap=True) == refused
    assert ask(b=UP, running=(0, 1), no_swap=True) == refused
    assert ask(b=UP, rivals="b", no_swap=True) == refused
    assert ask(b=Phase.STARTING, coming="b", no_swap=True) == refused
    assert ask(b=Phase.STARTING, coming="b", abandoned="b", no_swap=True) == refused
    assert ask(coming="b", no_swap=True) == refused
    assert ask(no_swap=True) == Swap()
    assert ask(UP, no_swap=True) == Serve()
    assert ask(UP, limit=1, running=(1, 0), no_swap=True) == Wait(WaitReason.FULL)
    assert ask(Phase.STARTING, coming="a", no_swap=True) == Wait(WaitReason.LOADING)
    assert ask(coming="a", b=Phase.STOPPING, leaving="b", no_swap=True) == Wait(WaitReason.LOADING)
    assert ask(Phase.STOPPING, coming="b", no_swap=True) == Wait(WaitReason.LEAVING)


def test_without_a_swap_what_leaves_anyway_does_not_count() -> None:
    """A model that is on its way out for others leaves room for the request."""
    assert ask(b=Phase.STOPPING, no_swap=True) == SWAP_B
    assert ask(b=UP, leaving="b", running=(0, 1), no_swap=True) == Wait(WaitReason.BUSY)


def test_without_a_swap_a_ready_model_is_used_beside_the_others() -> None:
    """Where the policy would clear the room for a model that runs already, nobody leaves."""
    assert ask(UP, b=UP) == SWAP_B
    assert ask(UP, b=UP, no_swap=True) == Serve()
    never = ask(policy=lambda _: NeverFits("too big"), no_swap=True)
    assert never == Refuse(Reason.NEVER_FITS, "too big")


def test_refusals() -> None:
    """What waiting cannot mend is said at once."""
    assert ask(policy=lambda _: NeverFits("too big")) == Refuse(Reason.NEVER_FITS, "too big")
    killed = "was killed but does not exit"
    assert ask(Phase.STUCK) == Refuse(Reason.LOAD_FAILED, f"a {killed}", LATER)
    assert ask(b=Phase.STUCK) == Refuse(Reason.LOAD_FAILED, f"b {killed}", LATER)
    nowhere = ClusterView(seats={}, coming=set(), leaving=set(), abandoned=set(), now=Seconds(0))
    unknown = decide(AdmissionRequest(model=A), nowhere, SWAPPING)
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
