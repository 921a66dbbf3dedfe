"""The dry run of a decision. That it foretells what happens is asserted by `ControllerSimulator.arrive`."""

from __future__ import annotations

from modelswap.core.commands import LeaseRequest, Reason
from modelswap.core.controller import Controller
from modelswap.core.models.lifecycle import Phase
from modelswap.core.placement.policy import (
    NO_FACTS,
    RAM,
    DeviceId,
    Facts,
    Need,
    NeedSource,
    Placement,
    unrestricted,
)
from modelswap.core.scheduling.admission import Refuse, Serve, Swap, Wait, WaitReason
from modelswap.core.scheduling.explanation import held_after, held_by_device
from modelswap.core.spec import ClientId, ModelId, RequestId
from modelswap.units import Bytes, Seconds
from support.controller_simulator import FakeServer, spec, specs, swapping

A, B, C = (ModelId(m) for m in "abc")
GPU = DeviceId("gpu0")


def test_nothing_changes() -> None:
    """An explanation starts no model, queues no request and counts no use."""
    sim = swapping()
    told = sim.controller.explain(A, sim.clock())
    assert told.verdict == Swap()
    assert sim.controller.phase(A) is Phase.STOPPED
    assert sim.controller.waiting(A) == 0
    assert sim.controller.explain(A, sim.clock()) == told


def test_who_would_leave() -> None:
    """The plan names the models, the usage says how they are used."""
    sim = swapping()
    sim.arrive("a")
    sim.run(10)
    told = sim.controller.explain(B, sim.clock())
    assert isinstance(told.verdict, Swap)
    assert told.leaving == (A,)
    assert told.live == (A,)
    assert told.usage[A].idle > 8
    assert sim.controller.explain(A, sim.clock()).verdict == Serve()
    assert sim.controller.explain(A, sim.clock()).leaving == ()


def test_waits_name_what_they_wait_for() -> None:
    """A busy model, a load under way, and the models that leave for it already."""
    sim = swapping(seconds_of_work=lambda: 5.0, server_of=lambda _: FakeServer(stops_in=1.0))
    sim.arrive("a")
    sim.run(1)
    busy = sim.controller.explain(B, sim.clock())
    assert busy.verdict == Wait(WaitReason.BUSY)
    assert busy.leaving == (A,)
    assert busy.usage[A].in_flight == 1
    sim.arrive("b")
    sim.run(4.6)
    loading = sim.controller.explain(B, sim.clock())
    assert loading.verdict == Wait(WaitReason.LOADING)
    assert (loading.awaiting, loading.leaving) == ((A,), ())
    assert sim.controller.explain(A, sim.clock()).verdict == Wait(WaitReason.LEAVING)


def test_older_requests_are_named() -> None:
    """A request that has waited too long holds others up: the explanation says for which model it is."""
    sim = swapping(max_wait=Seconds(2.0), seconds_of_work=lambda: 60.0)
    sim.arrive("a")
    sim.run(1)
    sim.arrive("b")
    sim.run(3)
    told = sim.controller.explain(A, sim.clock())
    assert told.verdict == Wait(WaitReason.HELD)
    assert told.blocking == (B,)


def test_refusals() -> None:
    """An unknown model, a full queue, a model with all its places taken, a server that shuts down."""
    sim = swapping(
        specs=specs(a=spec("a", concurrency=1)), queue_limit=1, seconds_of_work=lambda: 60.0
    )
    missing = sim.controller.explain(ModelId("z"), sim.clock()).verdict
    assert isinstance(missing, Refuse)
    assert missing.reason is Reason.NO_SUCH_MODEL
    sim.arrive("a")
    sim.run(1)
    taken = sim.controller.explain(A, sim.clock())
    assert isinstance(taken.verdict, Refuse)
    assert (taken.verdict.reason, taken.concurrency, taken.in_flight) == (Reason.OVER_LIMIT, 1, 1)
    sim.arrive("b")
    full = sim.controller.explain(C, sim.clock()).verdict
    assert isinstance(full, Refuse)
    assert full.reason is Reason.QUEUE_FULL
    sim.execute(sim.controller.drain(sim.clock()))
    closed = sim.controller.explain(B, sim.clock()).verdict
    assert isinstance(closed, Refuse)
    assert closed.reason is Reason.SHUTTING_DOWN


def test_a_pending_swap_is_known() -> None:
    """It is pending from the decision until the model is ready."""
    controller = Controller(specs(), unrestricted, max_wait=None, queue_limit=9)
    assert not controller.is_pending(A)
    controller.on_arrived(RequestId(1), LeaseRequest(A, ClientId("c")), Seconds(0))
    assert controller.is_pending(A)


FACTS = Facts(
    needs={A: Need(fixed={RAM: Bytes(5)}, movable=Bytes(7), source=NeedSource.DECLARED)},
    held={B: {RAM: Bytes(3), GPU: Bytes(4)}, C: {RAM: Bytes(1)}},
)


def test_what_devices_hold_afterwards() -> None:
    """Those that leave hold nothing, the model what it was promised, else what it needs where that is settled."""
    assert held_by_device(FACTS.held) == {RAM: 4, GPU: 4}
    promised = Placement(devices=(GPU,), promised=((GPU, Bytes(7)), (RAM, Bytes(5))))
    assert held_after(FACTS, [B], A, promised) == {RAM: 6, GPU: 7}
    assert held_after(FACTS, [], A, Placement()) == {RAM: 9, GPU: 4}
    assert held_after(FACTS, [], C, Placement()) == {RAM: 4, GPU: 4}
    assert held_after(NO_FACTS, [], A, Placement()) == {}
