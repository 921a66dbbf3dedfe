"""A start that ran out of memory: others leave, and it starts once more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from modelswap.core.commands import Fail, Grant, LeaseRequest, PhaseChanged, Spawn, Terminate
from modelswap.core.controller import Controller
from modelswap.core.failure import Cause, failure
from modelswap.core.models.lifecycle import Event
from modelswap.core.placement.policy import (
    RAM,
    Answer,
    DevicePool,
    Evict,
    Facts,
    NeverFits,
    NotYet,
    PlacementPlan,
    Question,
)
from modelswap.core.spec import ClientId, ModelId, RequestId
from modelswap.units import Bytes, Seconds
from support.controller_simulator import specs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelswap.core.commands import Command
    from modelswap.core.failure import Failure

A, B = ModelId("a"), ModelId("b")
START = Seconds(0)
POOLS = (DevicePool(id=RAM, total=Bytes(100)),)
SHORT = failure(Cause.OUT_OF_MEMORY, "out of memory")


class Policy:
    """Lets both models run together until it is told that *a* needs more."""

    def __init__(self) -> None:
        self.when_short: Answer = PlacementPlan(frozenset({Evict(B)}))
        self.is_short = False

    def __call__(self, question: Question) -> Answer:
        if question.target != A or not self.is_short or A in question.live:
            return PlacementPlan()
        answer = self.when_short
        if isinstance(answer, PlacementPlan) and B not in question.live:
            return PlacementPlan()
        return answer


class Story:
    """*b* runs; *a*, for which a request waits, starts beside it."""

    def __init__(self, policy: Policy, *, places_by_memory: bool = True) -> None:
        self.policy = policy
        self.controller = Controller(specs(), policy, max_wait=None, queue_limit=10)
        if places_by_memory:
            self.controller.on_facts(Facts(epoch=1, pools=POOLS), START)
        self.arrive(1, B)
        self.controller.on_event(B, Event.PROBE_PASSED, START)
        self.controller.on_finished(B, START)
        self.arrive(2, A)

    def arrive(self, number: int, model: ModelId) -> Sequence[Command]:
        request = LeaseRequest(model, ClientId("c"))
        return self.controller.on_arrived(RequestId(number), request, START)

    def fail(self, why: Failure = SHORT) -> Sequence[Command]:
        self.policy.is_short = True
        return self.controller.on_event(A, Event.EXITED, START, why)


def refusals(commands: Sequence[Command]) -> list[Fail]:
    return [command for command in commands if isinstance(command, Fail)]


def test_another_model_leaves_and_the_request_is_served() -> None:
    """It is not refused, and there is no back-off before the second start."""
    story = Story(Policy())
    out = story.fail()
    assert Terminate(B) in out
    assert refusals(out) == []
    assert Spawn(A) in story.controller.on_event(B, Event.EXITED, START)
    assert Grant(RequestId(2), A) in story.controller.on_event(A, Event.PROBE_PASSED, START)


def test_who_waits_for_room() -> None:
    """Not whoever waits for a model that starts: it has its room."""
    story = Story(Policy())
    seen = [story.controller.is_room_waited_for]
    story.fail()
    seen.append(story.controller.is_room_waited_for)
    story.controller.on_event(B, Event.EXITED, START)
    assert [*seen, story.controller.is_room_waited_for] == [False, True, False]


def test_the_second_time_it_fails() -> None:
    """It backs off as after any failed start, though room may still come."""
    story = Story(Policy())
    story.fail()
    story.controller.on_event(B, Event.EXITED, START)
    story.policy.when_short = NotYet("others hold it")
    (refused,) = refusals(story.fail())
    assert refused.id == RequestId(2)
    assert refused.failure is SHORT
    assert story.controller.state(A).backoff_until > START


def test_a_retry_after_each_success() -> None:
    """A start that went well allows another one."""
    story = Story(Policy())
    for number in (2, 3):
        assert refusals(story.fail()) == []
        story.controller.on_event(B, Event.EXITED, START)
        out = story.controller.on_event(A, Event.PROBE_PASSED, START)
        assert Grant(RequestId(number), A) in out
        story.controller.on_finished(A, START)
        story.policy.is_short = False
        story.controller.unload([A], START)
        story.controller.on_event(A, Event.EXITED, START)
        story.arrive(10 + number, B)
        story.controller.on_event(B, Event.PROBE_PASSED, START)
        story.controller.on_finished(B, START)
        story.arrive(number + 1, A)


def test_it_waits_for_room_that_is_to_come() -> None:
    """As when other programs hold the memory: the request goes on waiting."""
    policy = Policy()
    policy.when_short = NotYet("others hold it")
    story = Story(policy)
    assert refusals(story.fail()) == []
    policy.is_short = False
    assert Spawn(A) in story.controller.on_facts(Facts(epoch=2, pools=POOLS), START)


@pytest.mark.parametrize("answer", [PlacementPlan(), NeverFits("too large")])
def test_nothing_would_make_room(answer: Answer) -> None:
    """Another start would fail, too, so the request is refused at once."""
    policy = Policy()
    policy.when_short = answer
    assert len(refusals(Story(policy).fail())) == 1


def test_other_failures_are_not_tried_again() -> None:
    assert len(refusals(Story(Policy()).fail(failure(Cause.BAD_MODEL, "bad")))) == 1


def test_other_policies_do_not_try_again() -> None:
    """Without pools nothing is placed by memory, whatever the policy would evict now."""
    assert len(refusals(Story(Policy(), places_by_memory=False).fail())) == 1


def test_without_a_request_there_is_no_second_start() -> None:
    """The client has left meanwhile."""
    story = Story(Policy())
    story.controller.on_cancelled(RequestId(2), START)
    out = story.fail()
    assert [command for command in out if isinstance(command, Spawn | Terminate)] == []
    assert any(isinstance(command, PhaseChanged) and command.model == A for command in out)
    assert story.controller.state(A).failure is SHORT


def test_a_load_that_was_called_off_is_not_tried_again() -> None:
    """An unload while it starts ends it for good."""
    story = Story(Policy())
    story.controller.unload([A], START)
    out = story.fail()
    assert [command for command in out if isinstance(command, Spawn | Terminate)] == []
