"""The fleet of another front, spoken to by messages that the test writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from modelswap.config.plan import Model, Plan
from modelswap.core.commands import Fail, LeaseRequest, Reason
from modelswap.core.failure import Cause, failure
from modelswap.core.models.lifecycle import Phase
from modelswap.core.spec import ClientId, ModelId, ModelSpec, RequestId
from modelswap.fleet import Inherited, RemoteFleet, Ticket
from modelswap.fleet.remote import refusal_fields
from modelswap.pull.progress import PullPhase, PullProgress
from modelswap.units import Seconds

if TYPE_CHECKING:
    from modelswap.fleet import Fleet, ModelServer

A = ModelId("a")
PLAN = Plan(
    models={
        A: Model(
            id=A, spec=ModelSpec(id=A), cmd="server", argv=("server",), proxy="http://127.0.0.1:1"
        )
    }
)
REQUEST = LeaseRequest(A, ClientId("c"), watched=True)
ADDRESS = "http://127.0.0.1:5801"


class LocalFleet:
    """What this front's own fleet knew, and what it is asked for when the hand-over fails."""

    def __init__(self, leases: int, waiting: list[tuple[LeaseRequest, Ticket]]) -> None:
        self.inherited = Inherited(leases={A: leases})
        self.waiting = waiting
        self.entered: list[tuple[LeaseRequest, bool]] = []
        self.released = 0
        self.pulled: list[str] = []

    def estate(self) -> tuple[Inherited, list[tuple[LeaseRequest, Ticket]]]:
        return self.inherited, self.waiting

    def running(self) -> list[Any]:
        return [(PLAN.models[A], Phase.READY, 7)]

    def server(self, model: ModelId) -> None: ...

    def enter(self, ticket: Ticket, request: LeaseRequest, *, is_new: bool = True) -> None:
        del ticket
        self.entered.append((request, is_new))

    def release(self, model: ModelId) -> None:
        assert model == A
        self.released += 1

    def pull(self, source: str) -> None:
        self.pulled.append(source)


class RecordingWaiter:
    def __init__(self) -> None:
        self.heard: list[str] = []

    def on_granted(self, server: ModelServer) -> None:
        self.heard.append(f"granted {server.address} {server.model.proxy}")

    def on_refused(self, refused: Fail) -> None:
        self.heard.append(f"refused {refused.reason} {refused.retry_after}")
        if refused.failure is not None:
            self.heard.append(refused.failure.text)

    def on_position(self, position: int) -> None:
        self.heard.append(f"position {position}")


class Rig:
    """A remote fleet with the messages that it sends."""

    def __init__(self, leases: int = 0, *, waiting: bool = False) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.waiter = RecordingWaiter()
        queued = [(REQUEST, Ticket(RequestId(4), A, self.waiter))] if waiting else []
        self.local = LocalFleet(leases, queued)
        self.fleet = RemoteFleet(cast("Fleet", self.local), PLAN, self.send)

    def send(self, kind: str, **fields: Any) -> None:
        self.sent.append((kind, fields))


@pytest.fixture
async def rig() -> Rig:
    return Rig()


GRANTED = {"id": 1, "model": "a", "proxy": ADDRESS, "port": 5801}
ASKED = {
    "model": "a",
    "client": "c",
    "background": False,
    "watched": True,
    "no_swap": False,
    "number": None,
}


async def test_a_lease(rig: Rig) -> None:
    """The request goes to the address that the grant names; the lease is given back once."""
    rig.fleet.ask(REQUEST, rig.waiter)
    rig.fleet.on_message("position", {"id": 1, "position": 2})
    rig.fleet.on_message("granted", GRANTED)
    assert rig.waiter.heard == ["position 2", f"granted {ADDRESS} {ADDRESS}"]
    assert rig.fleet.in_flight(A) == 1
    rig.fleet.release(A)
    assert rig.sent == [
        ("ask", {"id": 1, "is_new": True, **ASKED}),
        ("release", {"model": A}),
    ]
    rig.fleet.release(A, Seconds(5))
    assert rig.sent[-1] == ("release", {"model": A, "ttl": 5})
    assert rig.fleet.expires_in(A) is None


async def test_a_refusal_passes_whole(rig: Rig) -> None:
    """Reason, time and failure are as in the other front."""
    why = failure(Cause.OUT_OF_MEMORY, "CUDA error: out of memory")
    refused = Fail(RequestId(9), Reason.BACKING_OFF, "", Seconds(3.5), why)
    rig.fleet.ask(REQUEST, rig.waiter)
    rig.fleet.on_message("refused", {"id": 1, **refusal_fields(refused)})
    assert rig.waiter.heard == ["refused backing off 3.5", "CUDA error: out of memory"]


async def test_a_grant_for_a_request_that_left(rig: Rig) -> None:
    """It is given back at once."""
    ticket = rig.fleet.ask(REQUEST, rig.waiter)
    rig.fleet.cancel(ticket)
    rig.fleet.on_message("granted", GRANTED)
    assert [kind for kind, _ in rig.sent] == ["ask", "cancel", "release"]
    assert rig.waiter.heard == []
    assert rig.fleet.in_flight(A) == 0


async def test_queued_requests_move_over() -> None:
    """A request that waited here waits there, without counting as a new one; the next has its number."""
    rig = Rig(waiting=True)
    assert rig.sent == [("ask", {"id": 4, "is_new": False, **ASKED})]
    assert rig.fleet.ask(REQUEST, rig.waiter).id == 5


async def test_the_other_front_ends(rig: Rig) -> None:
    """Those that wait are refused, and the models count as down."""
    rig.fleet.ask(REQUEST, rig.waiter)
    rig.fleet.refuse_all()
    assert rig.waiter.heard == ["refused shutting down None"]
    assert rig.fleet.phase(A) is Phase.STOPPED


async def test_pulls_that_the_other_front_goes_on_with() -> None:
    """They are told as they were until their model is heard of; one more is the other front's, too."""
    rig = Rig()
    pull = PullProgress(source="hf:o/r", phase=PullPhase.DOWNLOADING)
    rig.local.inherited = Inherited(pulls=("hf:o/r",), pulling={A: pull})
    fleet = RemoteFleet(cast("Fleet", rig.local), PLAN, rig.send)
    assert fleet.pull_of(A) is pull
    fleet.on_message("phase", {"model": "a", "phase": "starting"})
    assert fleet.pull_of(A) is None
    fleet.retry_pull(A)
    fleet.pull("hf:o/other")
    assert rig.sent == [("pull", {"source": "hf:o/other"})]
    fleet.give_back(cast("Fleet", rig.local), {})
    assert rig.local.pulled == ["hf:o/r"]


async def test_a_hand_over_that_fails() -> None:
    """The own fleet gets the queued requests back, and releases the leases that ended meanwhile."""
    rig = Rig(leases=3, waiting=True)
    rig.fleet.release(A)
    rig.fleet.give_back(cast("Fleet", rig.local), rig.local.inherited.leases)
    assert rig.local.released == 1
    assert rig.local.entered == [(REQUEST, False)]
