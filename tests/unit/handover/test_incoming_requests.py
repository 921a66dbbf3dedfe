"""The new process's side of a hand-over, with a fleet that only records."""

from __future__ import annotations

import asyncio
import json
import socket
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from modelswap.core.commands import Fail, LeaseRequest, Reason
from modelswap.core.models.lifecycle import Phase
from modelswap.core.spec import ClientId, ModelId, RequestId
from modelswap.fleet import Inherited
from modelswap.handover.channel import ChannelError
from modelswap.handover.incoming import OldFront
from modelswap.units import Seconds

if TYPE_CHECKING:
    from modelswap.fleet import Ticket

A = ModelId("a")
ASK = {
    "kind": "ask",
    "id": 4,
    "model": "a",
    "client": "c",
    "background": False,
    "watched": True,
    "no_swap": False,
    "is_new": False,
}


class RecordingFleet:
    """Grants nothing by itself; records what is asked of it."""

    def __init__(self) -> None:
        self.entered: list[tuple[Ticket, LeaseRequest, bool]] = []
        self.cancelled: list[Ticket] = []
        self.released: list[tuple[ModelId, Seconds | None]] = []
        self.watchers: list[Any] = []
        self.departures = SimpleNamespace(add=self.watchers.append)
        self._called = asyncio.Event()

    async def called(self) -> None:
        """Return after the next call."""
        async with asyncio.timeout(30):
            await self._called.wait()
        self._called.clear()

    def enter(self, ticket: Ticket, request: LeaseRequest, *, is_new: bool) -> None:
        self.entered.append((ticket, request, is_new))
        self._called.set()

    def cancel(self, ticket: Ticket) -> None:
        self.cancelled.append(ticket)

    def release(self, model: ModelId, ttl: Seconds | None = None) -> None:
        self.released.append((model, ttl))
        self._called.set()


class Peer:
    """The old process's end of the channel."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        connection.settimeout(0)

    async def send(self, **message: Any) -> None:
        line = json.dumps(message).encode() + b"\n"
        await asyncio.get_running_loop().sock_sendall(self._connection, line)

    async def receive(self) -> Any:
        async with asyncio.timeout(30):
            return json.loads(await asyncio.get_running_loop().sock_recv(self._connection, 10_000))


async def taken_over(fleet: RecordingFleet) -> tuple[OldFront, Peer, socket.socket]:
    """Return both sides after `serving`; the old process has one lease on `a`."""
    ours, theirs = socket.socketpair()
    peer, old_front = Peer(theirs), OldFront(ours, [])
    rows: dict[str, Any] = {"next_id": 9, "unsettled": [(2, 5)]}
    await peer.send(kind="go", **rows, profile=None, leases={"a": 1}, ready=["a"], kept={"a": 7.5})
    inherited = await old_front.take_over()
    assert (old_front.next_id, old_front.unsettled) == (9, [range(2, 5)])
    assert inherited == Inherited(leases={A: 1}, ready=frozenset({A}), kept={A: Seconds(7.5)})
    assert await peer.receive() == {"kind": "ready"}
    old_front.start_serving(cast("Any", fleet))
    assert await peer.receive() == {"kind": "serving"}
    ours.close()
    return old_front, peer, theirs


async def test_its_requests_wait_in_this_process() -> None:
    """An `ask` becomes a lease request; its answers and changes of phase go back."""
    fleet = RecordingFleet()
    old_front, peer, connection = await taken_over(fleet)
    with connection:
        await peer.send(**ASK)
        await fleet.called()
        ((ticket, request, is_new),) = fleet.entered
        assert request == LeaseRequest(A, ClientId("c"), watched=True, number=0)
        assert not is_new
        ticket.waiter.on_position(2)
        assert await peer.receive() == {"kind": "position", "id": 4, "position": 2}
        model = SimpleNamespace(id=A, proxy="http://127.0.0.1:1", port=1)
        ticket.waiter.on_granted(cast("Any", SimpleNamespace(model=model)))
        granted = await peer.receive()
        assert (granted["kind"], granted["id"], granted["port"]) == ("granted", 4, 1)
        fleet.watchers[0](A, Phase.STOPPING)
        assert await peer.receive() == {"kind": "phase", "model": "a", "phase": "stopping"}
        ticket.waiter.on_refused(Fail(RequestId(1), Reason.UNLOADED))
        assert (await peer.receive())["kind"] == "refused"
        await peer.send(kind="release", model="a", ttl=5)
        await fleet.called()
        assert fleet.released == [(A, Seconds(5))]
        assert not old_front.is_gone
    await old_front.wait_until_gone()
    assert old_front.is_gone


async def test_its_end_ends_its_leases_and_requests() -> None:
    """A lost channel cancels each queued request, and ends each lease once."""
    fleet = RecordingFleet()
    old_front, peer, connection = await taken_over(fleet)
    await peer.send(**ASK)
    connection.close()
    async with asyncio.timeout(30):
        await old_front.wait_until_gone()
    assert fleet.cancelled == [ticket for ticket, _, _ in fleet.entered]
    assert fleet.released == [(A, None)]


async def test_an_aborted_hand_over_is_not_taken() -> None:
    """Another message than `go` ends it; an old process that is gone leaves nothing."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        await Peer(theirs).send(kind="abort")
        with pytest.raises(ChannelError, match="called off"):
            await OldFront(ours, []).take_over()
    ours, theirs = socket.socketpair()
    theirs.close()
    with ours:
        assert not (await OldFront(ours, []).take_over()).leases
