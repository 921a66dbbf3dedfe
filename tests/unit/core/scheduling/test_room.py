"""Promises that the facts do not know yet, and when waits for room are looked at again."""

from __future__ import annotations

from modelswap.core.models.lifecycle import Phase
from modelswap.core.models.state import NEVER, ModelState
from modelswap.core.placement.policy import RAM, Facts, Placement
from modelswap.core.scheduling.admission import Serve, Verdict, Wait, WaitReason
from modelswap.core.scheduling.pending_swaps import PendingSwap
from modelswap.core.scheduling.room import Room
from modelswap.core.spec import ModelId, ModelSpec
from modelswap.units import Bytes, Seconds
from support.memory_questions import RAM_ONLY, held

A, B = ModelId("a"), ModelId("b")
FACTS = Facts(epoch=1, pools=RAM_ONLY, held={A: held(ram=1)})
PROMISED = Placement(promised=((RAM, Bytes(5)),))


def states(**placements: Placement) -> dict[ModelId, ModelState]:
    return {
        ModelId(name): ModelState(ModelSpec(id=ModelId(name)), placement=placement)
        for name, placement in placements.items()
    }


def test_promises_until_the_facts_know_them() -> None:
    """A running model that the facts do not list, and one that is to start, hold what was promised."""
    room = Room()
    known = room.with_promises(FACTS, states(a=PROMISED, b=PROMISED), {A, B}, {})
    assert known.held == {A: held(ram=1), B: {RAM: 5}}
    starting = room.with_promises(FACTS, states(b=Placement()), {A}, {B: PendingSwap(set())})
    assert starting is FACTS
    swap = PendingSwap(set(), placement=PROMISED)
    assert room.with_promises(FACTS, states(a=Placement()), {A}, {B: swap}).held[B] == {RAM: 5}


def test_a_start_outdates_the_facts() -> None:
    """They know an earlier run of the model, until new ones are told."""
    room = Room()
    room.on_phase(A, Phase.STARTING)
    room.on_phase(A, Phase.READY)
    assert room.with_promises(FACTS, states(a=PROMISED), {A}, {}).held[A] == {RAM: 5}
    room.on_facts()
    assert room.with_promises(FACTS, states(a=PROMISED), {A}, {}) is FACTS


def test_without_devices_nothing_is_promised() -> None:
    """Where nothing is placed by memory, the facts stay as they are."""
    facts = Facts()
    assert Room().with_promises(facts, states(a=PROMISED), {A}, {}) is facts


def test_when_to_look_again() -> None:
    """At the first time of those that wait for room; each pass begins anew."""
    room = Room()

    def told(model: ModelId, verdict: Verdict, now: float) -> None:
        room.on_verdict(model, verdict, Seconds(now))

    told(A, Wait(WaitReason.NO_ROOM, Seconds(9)), 1)
    told(B, Wait(WaitReason.NO_ROOM, Seconds(7)), 2)
    told(A, Wait(WaitReason.NO_ROOM, Seconds(9)), 3)
    since = {A: Seconds(1), B: Seconds(2)}
    assert (room.next_look, room.short_since) == (Seconds(7), since)
    room.begin_pass()
    assert room.next_look == NEVER
    told(A, Wait(WaitReason.HELD), 4)
    assert room.short_since == since
    told(A, Wait(WaitReason.BUSY), 4)
    told(B, Serve(), 4)
    assert room.short_since == {}
