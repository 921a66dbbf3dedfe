"""What a policy plans reaches the commands: where a server starts, and what must leave for it."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from modelswap.core.commands import (
    Fail,
    Grant,
    LeaseRequest,
    Reason,
    SetTimer,
    Spawn,
    Terminate,
    TimerKey,
)
from modelswap.core.controller import Controller
from modelswap.core.models.lifecycle import Event, Timer
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
    Question,
)
from modelswap.core.spec import ClientId, ModelId, RequestId
from modelswap.units import Seconds
from support.controller_simulator import specs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelswap.core.commands import Command

A, B = ModelId("a"), ModelId("b")
ON_GPU = Placement(devices=(DeviceId("gpu0"),))
START = Seconds(0)


class ScriptedPolicy:
    """Plans the same for every question, and counts the questions."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked: list[Question] = []

    def __call__(self, question: Question) -> Answer:
        self.asked.append(question)
        if not isinstance(self.answer, PlacementPlan):
            return self.answer
        live = frozenset(e for e in self.answer.evictions if e.model in question.live)
        return PlacementPlan(live, self.answer.placement)


def controller_of(policy: ScriptedPolicy) -> Controller:
    return Controller(specs(), policy, max_wait=Seconds(inf), queue_limit=10)


def arrive(controller: Controller, number: int, model: ModelId) -> Sequence[Command]:
    return controller.on_arrived(RequestId(number), LeaseRequest(model, ClientId("c")), START)


def test_a_placement_reaches_the_launcher() -> None:
    """A model starts where the plan puts it, also after others had to leave first."""
    policy = ScriptedPolicy(PlacementPlan(placement=ON_GPU))
    controller = controller_of(policy)
    assert Spawn(B, ON_GPU) in arrive(controller, 1, B)
    controller.on_event(B, Event.PROBE_PASSED, START)
    controller.on_finished(B, START)
    policy.answer = PlacementPlan(frozenset({Evict(B)}), ON_GPU)
    assert Terminate(B) in arrive(controller, 2, A)
    assert Spawn(A, ON_GPU) in controller.on_event(B, Event.EXITED, START)


def test_without_sleep_an_eviction_to_sleep_stops() -> None:
    """No server can sleep yet: one that should is asked to leave."""
    policy = ScriptedPolicy(PlacementPlan())
    controller = controller_of(policy)
    arrive(controller, 1, B)
    controller.on_event(B, Event.PROBE_PASSED, START)
    controller.on_finished(B, START)
    policy.answer = PlacementPlan(frozenset({Evict(B, EvictionMode.SLEEP)}))
    assert Terminate(B) in arrive(controller, 2, A)


def test_a_ready_model_asks_no_policy_until_the_facts_change() -> None:
    """The policy is asked once an epoch; facts of a known epoch change nothing."""
    policy = ScriptedPolicy(PlacementPlan())
    controller = controller_of(policy)
    arrive(controller, 1, A)
    controller.on_event(A, Event.PROBE_PASSED, START)
    assert Grant(RequestId(2), A) in arrive(controller, 2, A)
    asked = len(policy.asked)
    assert controller.serve_now(A)
    assert controller.on_facts(Facts(), START) == ()
    assert controller.serve_now(A)
    assert len(policy.asked) == asked
    controller.on_facts(Facts(epoch=1), START)
    assert not controller.serve_now(A)
    arrive(controller, 3, A)
    assert policy.asked[-1].facts.epoch == 1
    assert controller.serve_now(A)


def test_new_facts_decide_about_waiting_requests() -> None:
    """A request that waits is decided anew when facts change."""
    policy = ScriptedPolicy(PlacementPlan())
    controller = controller_of(policy)
    arrive(controller, 1, B)
    controller.on_event(B, Event.PROBE_PASSED, START)
    policy.answer = PlacementPlan(frozenset({Evict(B)}))
    assert arrive(controller, 2, A) == ()
    policy.answer = PlacementPlan()
    assert Spawn(A) in controller.on_facts(Facts(epoch=1), START)


OVERDUE = TimerKey(Timer.OVERDUE)


def test_waiting_for_room_ends() -> None:
    """A timer asks again when time may change the answer, and when the patience of the policy ends."""
    policy = ScriptedPolicy(NotYet("b is new", Seconds(2)))
    controller = controller_of(policy)
    assert arrive(controller, 1, A) == [SetTimer(OVERDUE, Seconds(2))]
    policy.answer = NotYet("vllm holds it", refuse_after=Seconds(60))
    assert controller.on_timer(OVERDUE, Seconds(2)) == [SetTimer(OVERDUE, Seconds(60))]
    assert controller.on_timer(OVERDUE, Seconds(60)) == [
        Fail(RequestId(1), Reason.NO_ROOM, "vllm holds it", Seconds(5))
    ]


def test_room_comes_before_the_patience_ends() -> None:
    """New facts start the model; its timer decides nothing afterwards."""
    policy = ScriptedPolicy(NotYet("vllm holds it", refuse_after=Seconds(60)))
    controller = controller_of(policy)
    arrive(controller, 1, A)
    policy.answer = PlacementPlan(placement=ON_GPU)
    assert Spawn(A, ON_GPU) in controller.on_facts(Facts(epoch=1), Seconds(5))
    assert controller.on_timer(OVERDUE, Seconds(60)) == ()


def test_a_server_that_runs_holds_its_memory_already() -> None:
    """One that is found running stays where a new one would have to wait for room, but not where it never fits."""
    for answer, stays in ((NotYet("later"), True), (NeverFits("too big"), False)):
        controller = controller_of(ScriptedPolicy(answer))
        commands = controller.adopt(A, START, is_ready=True)
        assert (Terminate(A) not in commands) == stays
