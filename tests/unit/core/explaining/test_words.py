"""What would happen, and what was decided, in words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from modelswap.core.commands import Reason
from modelswap.core.explaining.words import (
    compared_text,
    device_text,
    need_text,
    placement_text,
    plan_text,
    swap_text,
)
from modelswap.core.models.lifecycle import Phase
from modelswap.core.placement.policy import (
    NO_FACTS,
    RAM,
    UNKNOWN_NEED,
    UNUSED,
    DeviceId,
    DevicePool,
    Evict,
    Facts,
    Need,
    NeedSource,
    NodeId,
    Placement,
    PlacementPlan,
    Usage,
    stop,
)
from modelswap.core.scheduling.admission import Refuse, Serve, Swap, Wait, WaitReason
from modelswap.core.scheduling.explanation import Explanation
from modelswap.core.spec import ModelId
from modelswap.units import Bytes, Seconds

A, B, C = (ModelId(m) for m in "abc")
GPU0, GPU1 = DeviceId("gpu0"), DeviceId("gpu1")
GIB = 1 << 30
PLAN = stop(frozenset({A, B}), "the rule")
NEED = Need(fixed={RAM: Bytes(GIB)}, movable=Bytes(3 * GIB), source=NeedSource.LEARNED)


def told(verdict: Any, **changes: Any) -> Explanation:
    plain = Explanation(
        model=C,
        verdict=verdict,
        now=Seconds(100),
        phase=Phase.STOPPED,
        plan=PLAN,
        in_flight=0,
        concurrency=None,
        live=(A, B),
        facts=NO_FACTS,
        usage={A: Usage(idle=Seconds(12)), B: UNUSED},
        phases={A: Phase.READY, B: Phase.READY},
    )
    return replace(plain, **changes)


SWAP = Swap(PLAN.evictions, why=PLAN.why)
FREE = PlacementPlan()


@pytest.mark.parametrize(
    ("explanation", "text"),
    [
        (told(Serve(), plan=FREE), "c serves it now: it is loaded."),
        (told(Serve(), in_flight=1), "c serves it now: it is loaded and runs 1 request."),
        (
            told(Serve(), in_flight=1, concurrency=4),
            "c serves it now: it is loaded and runs 1 of at most 4 requests.",
        ),
        (told(Swap(), plan=FREE, live=()), "c would start at once."),
        (told(Swap(), plan=FREE), "c would start at once, beside a and b."),
        (told(SWAP), "c would start after a (idle for 12 s) and b leave: the rule."),
        (
            told(Wait(WaitReason.LEAVING)),
            "c is stopping; it starts again when it has stopped.",
        ),
        (
            told(Wait(WaitReason.HELD), blocking=(A,)),
            "c waits: older requests for a come first. Then a (idle for 12 s) and b leave: the rule.",
        ),
        (told(Wait(WaitReason.LOADING)), "c is starting; it serves the request when it is ready."),
        (
            told(Wait(WaitReason.LOADING), awaiting=(A,)),
            "c starts as soon as a has stopped.",
        ),
        (
            told(Wait(WaitReason.SETTLING), plan=stop(frozenset({B})), phases={B: Phase.STARTING}),
            "c waits: b is still starting. Then b leaves.",
        ),
        (
            told(Wait(WaitReason.BUSY), usage={A: Usage(in_flight=2), B: UNUSED}),
            "c waits until a has finished 2 requests. Then a (runs 2 requests) and b leave: the rule.",
        ),
        (
            told(Wait(WaitReason.NO_ROOM, detail="x holds it")),
            "c waits for free memory: x holds it.",
        ),
        (
            told(Wait(WaitReason.NO_ROOM, detail="x holds it"), facts=Facts(needs={C: NEED})),
            f"c waits for free memory: x holds it. {need_text(NEED)}",
        ),
        (
            told(Wait(WaitReason.FULL), in_flight=3),
            "c waits: it runs 3 requests, as many as it may.",
        ),
        (told(Refuse(Reason.NEVER_FITS, "too large")), "c would be refused: too large."),
        (told(Refuse(Reason.SHUTTING_DOWN, "")), "c would be refused: shutting down."),
        (told(Refuse(Reason.WOULD_SWAP, "a")), "c would be refused: a would have to leave."),
        (
            told(Refuse(Reason.OVER_LIMIT, "Too many requests"), in_flight=1),
            "c would be refused: it runs 1 request, as many as it may.",
        ),
        (
            told(Refuse(Reason.BACKING_OFF, "no such file", Seconds(3))),
            "c would be refused: its last start failed, and it may start again in 3.0 s: no such file.",
        ),
        (
            told(Refuse(Reason.BACKING_OFF, "", Seconds(3))),
            "c would be refused: its last start failed, and it may start again in 3.0 s.",
        ),
        (
            told(Refuse(Reason.PULL_FAILED, "the disk is full", Seconds(30))),
            "c would be refused: its last pull failed, and it may be pulled again in 30 s: the disk is full.",
        ),
    ],
)
def test_plans(explanation: Explanation, text: str) -> None:
    """Each verdict in one or two sentences, with who leaves and why."""
    assert plan_text(explanation) == text


def test_a_cost_is_said_once() -> None:
    """Where the policy names the costs itself, as the one by memory does, the plan does not repeat them."""
    plan = stop(frozenset({A}), "the cheapest to leave: a (idle for 12 s)")
    assert plan_text(told(Swap(plan.evictions, why=plan.why), plan=plan)) == (
        "c would start after a leaves: the cheapest to leave: a (idle for 12 s)."
    )


def test_a_plan_with_need_and_place() -> None:
    """Where the model goes, and what it takes there."""
    verdict = Swap(placement=Placement(devices=(GPU0, GPU1)))
    found = told(
        verdict, plan=PlacementPlan(placement=verdict.placement), facts=Facts(needs={C: NEED})
    )
    assert plan_text(found) == (
        "c would start at once, beside a and b, on gpu0 and gpu1. It needs 1 GiB of ram and "
        "3 GiB of the GPUs (learned from its last runs)."
    )


def test_every_wait_has_words() -> None:
    for why in WaitReason:
        assert plan_text(told(Wait(why), blocking=(A,))).startswith("c ")


def test_needs() -> None:
    """An unknown one says what follows from that; a model may need nothing."""
    assert "runs alone until it was measured once" in need_text(UNKNOWN_NEED)
    assert need_text(Need(source=NeedSource.DECLARED)) == "It needs no memory (declared)."


def test_places() -> None:
    assert placement_text(Placement()) == ""
    assert placement_text(Placement(node=NodeId("n"))) == "n"
    assert placement_text(Placement(node=NodeId("n"), devices=(GPU0,))) == "gpu0 of n"


def test_devices() -> None:
    """What it has, who uses it, and how much is left or missing afterwards."""
    pool = DevicePool(
        id=GPU0,
        total=Bytes(24 * GIB),
        reserve=Bytes(GIB),
        foreign=Bytes(2 * GIB),
        holders=(("python", Bytes(GIB)),),
    )
    assert device_text(pool, 4 * GIB, 20 * GIB) == (
        "gpu0: 24 GiB in all, 1 GiB kept free, 2 GiB used by other programs (python 1 GiB), "
        "4 GiB held by models, 20 GiB afterwards, 1 GiB left"
    )
    assert device_text(pool, 22 * GIB, 22 * GIB).endswith("22 GiB held by models, 1 GiB too little")
    bare = DevicePool(id=RAM, total=Bytes(GIB))
    assert device_text(bare, 0, 0) == "ram: 1 GiB in all, 0 bytes held by models, 1 GiB left"
    nameless = replace(pool, holders=())
    assert "2 GiB used by other programs, " in device_text(nameless, 0, 0)


def test_comparisons() -> None:
    assert compared_text(100 << 20, 119 << 20) == "100 MiB measured, 119 MiB predicted (19 % more)"
    assert compared_text(100 << 20, 90 << 20).endswith("(10 % less)")
    assert compared_text(100 << 20, 100 << 20) == "100 MiB measured, 100 MiB predicted"
    assert compared_text(0, 100 << 20) == "0 bytes measured, 100 MiB predicted"


def test_swaps() -> None:
    """Who asked, who leaves and why, where it goes, how it ended."""
    plain = {"model": "c", "asked_by": "", "left": (), "why": "", "where": "", "ending": ""}
    assert swap_text(**plain) == "c: none leaves"  # type: ignore[arg-type]
    full = {
        "asked_by": "a request",
        "left": ["a", "b"],
        "why": "w",
        "where": "gpu0",
        "ending": "ready",
    }
    assert swap_text(**(plain | full)) == (  # type: ignore[arg-type]
        "c for a request: a and b leave (w); placed on gpu0; ready"
    )
    assert swap_text(**(plain | {"left": ["a"]})) == "c: a leaves"  # type: ignore[arg-type]


def test_one_eviction_of_a_sleeping_kind_reads_the_same() -> None:
    """How a model leaves does not change who leaves."""
    plan = PlacementPlan(frozenset({Evict(A)}), why="w")
    assert plan_text(told(Swap(plan.evictions), plan=plan)) == (
        "c would start after a (idle for 12 s) leaves: w."
    )
