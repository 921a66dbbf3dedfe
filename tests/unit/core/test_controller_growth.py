"""What a decision costs does not depend on how many models are configured or how many requests wait.

Steps are counted, not time: the states that are looked at, the questions to the policy, the places
that are compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from modelswap.core.commands import Grant, LeaseRequest, Position
from modelswap.core.controller import Controller
from modelswap.core.models.lifecycle import Event
from modelswap.core.placement.groups import groups_policy
from modelswap.core.placement.policy import Answer, Facts, Question
from modelswap.core.scheduling import queue
from modelswap.core.spec import ClientId, ModelId, ModelSpec, RequestId
from modelswap.units import Seconds
from support.controller_simulator import FakeGroup

if TYPE_CHECKING:
    from collections.abc import Iterator

    from modelswap.core.models.state import ModelState
    from modelswap.core.placement.policy import Answer

A, B = ModelId("m0"), ModelId("m1")
NOW = Seconds(1)


class CountedStates(dict[ModelId, "ModelState"]):
    """The states of the models; it counts those that are read."""

    read = 0

    def __getitem__(self, model: ModelId) -> ModelState:
        self.read += 1
        return super().__getitem__(model)

    def __iter__(self) -> Iterator[ModelId]:
        raise AssertionError("all configured models are looked at")

    def items(self) -> Any:
        raise AssertionError("all configured models are looked at")

    def values(self) -> Any:
        raise AssertionError("all configured models are looked at")


class Counted:
    """A controller in which `m0` is busy; it counts the questions to its policy."""

    def __init__(self, models: int) -> None:
        names = tuple(ModelId(f"m{number}") for number in range(models))
        specs = {name: ModelSpec(id=name, concurrency=1) for name in names}
        self.questions = 0
        self._policy = groups_policy([FakeGroup("g", names)])
        self.controller = Controller(specs, self._ask, max_wait=Seconds(60), queue_limit=10_000)
        self._ids = 0
        self.arrive(A)
        self.controller.on_event(A, Event.PROBE_PASSED, NOW)

    def _ask(self, question: Question) -> Answer:
        self.questions += 1
        return self._policy(question)

    def arrive(self, model: ModelId, *, watched: bool = False) -> RequestId:
        self._ids += 1
        id_ = RequestId(self._ids)
        request = LeaseRequest(model, ClientId("c"), watched=watched)
        self.controller.on_arrived(id_, request, NOW)
        return id_

    def swap(self) -> int:
        """Swap to `m1`; return how many states were read for it."""
        controller = self.controller
        states = CountedStates(controller._states)
        controller._states = controller._scheduler._states = states
        controller._driver._states = states
        controller.on_finished(A, NOW)
        self.arrive(B)
        controller.on_event(A, Event.EXITED, NOW)
        assert Grant(RequestId(self._ids), B) in controller.on_event(B, Event.PROBE_PASSED, NOW)
        return states.read


def test_a_swap_looks_at_the_models_that_run() -> None:
    """A swap among a thousand models reads as many states as one among two."""
    assert Counted(models=1000).swap() == Counted(models=2).swap()


def _waiting(count: int) -> Counted:
    counted = Counted(models=2)
    for _ in range(count):
        counted.arrive(B)
    counted.questions = 0
    return counted


def _questions_of_all(count: int) -> list[int]:
    """Questions of a new decision about all, of an arrival, of one that gives up, of one served."""
    counted = _waiting(count)
    controller = counted.controller
    found: list[int] = []

    def note() -> None:
        found.append(counted.questions)
        counted.questions = 0

    controller.on_facts(Facts(epoch=1), NOW)
    note()
    last = counted.arrive(B)
    note()
    controller.on_cancelled(last, NOW)
    note()
    controller.on_finished(A, NOW)
    controller.on_event(A, Event.EXITED, NOW)
    controller.on_event(B, Event.PROBE_PASSED, NOW)
    counted.questions = 0
    controller.on_finished(B, NOW)
    note()
    return found


def test_the_policy_is_asked_once_for_each_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand waiting requests for one model need no more questions than ten, and no walk."""

    def walk(_: queue.WaitQueue) -> Iterator[queue.QueuedRequest]:
        raise AssertionError("all waiting requests are looked at")

    monkeypatch.setattr(queue.WaitQueue, "__iter__", walk)
    assert _questions_of_all(1000) == _questions_of_all(10)


def test_a_departure_searches_for_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Among a thousand, ten comparisons in each list find a request; not each one is looked at."""
    counted = _waiting(1000)
    last = counted.arrive(B)
    compared = 0
    order = queue._order

    def counting(queued: queue.QueuedRequest) -> Any:
        nonlocal compared
        compared += 1
        return order(queued)

    monkeypatch.setattr(queue, "_order", counting)
    counted.controller.on_cancelled(last, NOW)
    assert 0 < compared <= 2 * 11


def test_positions_are_reported_when_they_may_have_changed() -> None:
    """What does not concern the queue reports no place, and computes none."""
    counted = Counted(models=3)
    controller = counted.controller
    watching = counted.arrive(B, watched=True)
    assert controller.positions() == {watching: 1}
    controller.positions = lambda: pytest.fail("computed")  # type: ignore[method-assign]
    counted.controller.add_in_flight(A, 1)
    assert not [c for c in controller.on_finished(A, NOW) if isinstance(c, Position)]
