"""The decisions of this process, from the decision to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from modelswap.core.commands import LeaseRequest, SwapDecided
from modelswap.core.models.lifecycle import Phase
from modelswap.core.placement.policy import (
    ANYWHERE,
    NO_FACTS,
    RAM,
    DeviceId,
    DevicePool,
    Evict,
    Facts,
    Placement,
)
from modelswap.core.spec import ClientId, ModelId
from modelswap.observe.decisions.log import RING, DecisionLog
from modelswap.units import Bytes, Seconds

if TYPE_CHECKING:
    from modelswap.observe.decisions.decision import Decision

A, B, C = (ModelId(m) for m in "abc")
MIB = 1 << 20
POOL = DevicePool(id=RAM, total=Bytes(100 * MIB), reserve=Bytes(5 * MIB), foreign=Bytes(MIB))


class Rig:
    """A log, with a clock and a fleet that the test sets."""

    def __init__(self) -> None:
        self.now = 10.0
        self.facts = NO_FACTS
        self.pending: set[ModelId] = set()
        self.phases: dict[ModelId, Phase] = {}
        self.told: list[tuple[str, str]] = []
        self.log = DecisionLog(
            lambda decision: self.told.append((decision.model, decision.ending)),
            facts=lambda: self.facts,
            now=lambda: self.now,
            is_pending=self.pending.__contains__,
            phase=lambda model: self.phases.get(model, Phase.STOPPED),
            wall_ns=lambda: int((1000 + self.now) * 1e9),
        )

    def decide(self, model: ModelId = A, *evicted: ModelId, **changes: Any) -> None:
        facts: dict[str, Any] = {
            "model": model,
            "request": LeaseRequest(model, ClientId("c"), number=7),
            "is_own": False,
            "evictions": frozenset(map(Evict, evicted)),
            "placement": ANYWHERE,
            "why": "the rule" if evicted else "",
            "at": Seconds(self.now),
            "waited": Seconds(0),
            "facts": self.facts,
        }
        self.pending.add(model)
        self.log.on_swap(SwapDecided(**(facts | changes)))

    def phase(self, model: ModelId, phase: Phase, why: str = "", *, failed: bool = False) -> None:
        self.phases[model] = phase
        if phase is Phase.READY:
            self.pending.discard(model)
        self.log.on_phase(model, phase, why, failed=failed)

    @property
    def last(self) -> Decision:
        return self.log.newest(1)[0]


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_a_swap_from_its_decision_to_its_end(rig: Rig) -> None:
    """Each step has its time, and the memory is known before and after."""
    rig.facts = Facts(pools=(POOL,), held={B: {RAM: Bytes(30 * MIB)}}, reload={B: Seconds(2)})
    rig.decide(A, B, waited=Seconds(4))
    assert rig.log.open == [rig.last]
    rig.phase(B, Phase.STOPPING)
    rig.now = 11
    rig.phase(B, Phase.STOPPED)
    rig.phase(A, Phase.STARTING)
    rig.now = 13
    rig.facts = Facts(pools=(POOL,), held={A: {RAM: Bytes(40 * MIB)}})
    rig.phase(A, Phase.READY)
    found = rig.last
    assert (found.stopped, found.started, found.ended) == (1, 1, 3)
    assert rig.told == [("a", ""), ("a", "ready")]
    assert rig.log.open == []
    assert found.text == (
        "a for request 7 of c: b leaves (the rule); ready after 3.0 s (the request had waited 4.0 s, "
        "stopping took 1.0 s, loading 2.0 s); ram 30 MiB before, 40 MiB after"
    )
    shown = found.shown()
    assert shown["evicted"] == [
        {"model": "b", "how": "stop", "frees": {"ram": 30 * MIB}, "reload_seconds": 2}
    ]
    assert shown["memory"][0]["after"] == 40 * MIB
    assert (shown["stopped_s"], shown["started_s"], shown["ended_s"]) == (1, 1, 3)
    assert shown["id"] == 1_010_000_000


def test_a_failed_start(rig: Rig) -> None:
    """The reason is the one of the phase; a start that was stopped is no failure."""
    rig.decide()
    rig.phase(A, Phase.STARTING)
    rig.phase(A, Phase.STOPPED, "no such file", failed=True)
    assert rig.last.text == "a for request 7 of c: none leaves; failed after 0 ms: no such file"
    rig.decide()
    rig.phase(A, Phase.STARTING)
    rig.phase(A, Phase.STOPPING, "unloaded")
    rig.phase(A, Phase.STOPPED, "unloaded")
    assert rig.last.ending == "stopped"
    assert rig.last.text.endswith("stopped after 0 ms, before it was ready: unloaded")


def test_a_start_that_is_tried_again(rig: Rig) -> None:
    """It has failed, though the model has no failure by now; what it was promised is free again."""
    rig.facts = Facts(pools=(POOL,), held={B: {RAM: Bytes(30 * MIB)}})
    rig.decide()
    rig.phase(A, Phase.STARTING)
    rig.facts = Facts(pools=(POOL,), held={A: {RAM: Bytes(90 * MIB)}, B: {RAM: Bytes(30 * MIB)}})
    rig.phase(A, Phase.STOPPED, "out of memory")
    assert rig.last.text == "a for request 7 of c: none leaves; failed after 0 ms: out of memory"
    assert rig.last.shown()["memory"][0]["after"] == 30 * MIB
    rig.decide()
    rig.phase(A, Phase.STARTING)
    rig.phase(A, Phase.STOPPING, "not ready in time")
    rig.phase(A, Phase.STOPPED, "not ready in time", failed=True)
    assert rig.last.ending == "failed"


def test_given_up(rig: Rig) -> None:
    """The last request leaves while another model stops; that one does not exit; it is decided anew."""
    rig.decide(A, B)
    rig.pending.clear()
    rig.phase(B, Phase.STOPPED)
    assert rig.last.text.endswith("given up after 0 ms: no request waits for it any more")
    rig.decide(A, B)
    rig.pending.clear()
    rig.phase(B, Phase.STUCK)
    assert rig.last.reason == "b does not exit"
    rig.decide(A)
    rig.decide(A)
    assert [one.ending for one in rig.log.newest(9)] == ["", "given_up", "given_up", "given_up"]
    assert rig.log.newest(9)[1].reason == "it was decided anew"


def test_others_do_not_end_it(rig: Rig) -> None:
    """A model that stops for another reason, and the first of two that leave."""
    rig.decide(A, B, C)
    rig.phase(ModelId("z"), Phase.STOPPED)
    rig.phase(B, Phase.STOPPED)
    rig.phase(A, Phase.STOPPING)
    assert rig.last.ending == ""
    assert rig.last.stopped == 0


def test_a_model_that_ran_beside_what_left(rig: Rig) -> None:
    """It is ready all the time: the decision ends with the others' exit."""
    rig.phases[A] = Phase.READY
    rig.decide(A, B)
    rig.pending.clear()
    rig.phase(B, Phase.STOPPED)
    assert rig.last.ending == "ready"


def test_without_a_decision_phases_cost_nothing(rig: Rig) -> None:
    rig.phase(A, Phase.READY)
    assert rig.log.newest(5) == []
    assert rig.told == []


@pytest.mark.parametrize(
    ("request_", "is_own", "text"),
    [
        (LeaseRequest(A, ClientId("c"), number=0), False, "request of c"),
        (
            LeaseRequest(A, ClientId("c"), background=True, number=3),
            False,
            "background request 3 of c",
        ),
        (LeaseRequest(A, ClientId("c")), False, "an order of c"),
        (LeaseRequest(A, ClientId("")), False, "an order"),
        (LeaseRequest(A, ClientId("")), True, "the program itself"),
    ],
)
def test_who_asked(rig: Rig, request_: LeaseRequest, is_own: bool, text: str) -> None:  # noqa: FBT001 - a parameter
    rig.decide(request=request_, is_own=is_own)
    assert rig.last.asked_by == text


def test_a_placement_is_named(rig: Rig) -> None:
    rig.decide(placement=Placement(devices=(DeviceId("gpu1"),)))
    assert "placed on gpu1" in rig.last.text


def test_the_newest_are_kept(rig: Rig) -> None:
    """Ids grow, also in one moment; of one model where one is asked for; a device that is gone is left out."""
    rig.facts = Facts(pools=(POOL,))
    rig.decide(B)
    rig.facts = NO_FACTS
    for _ in range(RING + 5):
        rig.decide(A)
        rig.phase(A, Phase.STARTING)
        rig.phase(A, Phase.READY)
    rig.phase(B, Phase.STARTING)
    rig.phase(B, Phase.READY)
    assert len(rig.log.newest(9999)) == RING
    assert [one.model for one in rig.log.newest(3, "a")] == ["a"] * 3
    assert rig.log.newest(1, "b")[0].memory[0].after is None
    ids = [one.id for one in rig.log.newest(9, "a")]
    assert ids == sorted(ids, reverse=True)
    assert len(set(ids)) == len(ids)
