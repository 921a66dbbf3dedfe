"""The new front's side of a hand-over: what it got, and the requests that the old front still has.

Guarantees: nothing of the old front's is taken before it says `go`; every lease that it had is given
back when it says so, and all of them when it ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from modelswap.core.commands import LeaseRequest
from modelswap.core.spec import ClientId, ModelId, RequestId
from modelswap.fleet import Inherited, Ticket
from modelswap.fleet.remote import refusal_fields

from .channel import Channel, ChannelError

if TYPE_CHECKING:
    from collections.abc import MutableMapping, Sequence

    from modelswap.core.commands import Fail
    from modelswap.core.models.lifecycle import Phase
    from modelswap.fleet import Fleet, ModelServer, RemoteFleet

    from .channel import Message

VARIABLE: Final = "MODELSWAP_HANDOVER"
"""`PARENT:CHANNEL:SOCKET,SOCKET…`: the old front's pid and our descriptors."""
GO_WITHIN: Final = 30.0
"""Seconds until the old front must have let go; it only has to close a connection."""


class Inheritance:
    """What an old front has given to this process."""

    def __init__(self, channel: socket.socket, listening: Sequence[socket.socket]) -> None:
        self.listening = listening
        self._socket = channel
        self._channel: Channel | None = None
        self._fleet: Fleet | RemoteFleet | None = None
        self._tickets: dict[int, Ticket] = {}
        self._leases: Counter[ModelId] = Counter()
        self._gone = asyncio.Event()
        self.next_id = 1
        """The first activity id that the old front does not use."""
        self.profile: str | None = None

    def refuse(self, lines: Sequence[str]) -> None:
        """Tell the old front why this process cannot take over."""
        with suppress(OSError):
            self._socket.sendall(
                json.dumps({"kind": "failed", "lines": list(lines)}).encode() + b"\n"
            )

    async def take(self) -> Inherited:
        """Say that all is ready, and return what the old front still does with the models.

        An old front that has died meanwhile leaves nothing but the sockets.

        Raises:
            ChannelError: it goes on itself.
        """
        self._channel = await Channel.over(self._socket.dup())
        self._channel.send("ready")
        try:
            message = await self._channel.receive(GO_WITHIN)
        except ChannelError:
            return Inherited()
        if message["kind"] != "go":
            raise ChannelError("the hand-over was called off")
        self.next_id = int(message["next_id"])
        self.profile = message["profile"]
        self._leases.update({ModelId(m): int(n) for m, n in message["leases"].items()})
        return Inherited(
            leases=dict(self._leases), ready=frozenset(ModelId(m) for m in message["ready"])
        )

    def begin(self, fleet: Fleet) -> None:
        """Say that this front serves, and give leases to the old one from now on."""
        assert self._channel is not None
        self.follow(fleet)
        self._channel.send("serving")
        self._channel.attend(self._on_message, self._on_lost)

    def follow(self, fleet: Fleet | RemoteFleet) -> None:
        """Serve the old front from *fleet*, which counts its leases already."""
        self._fleet = fleet
        fleet.departures.add(self._tell_phase)

    async def wait_until_unused(self) -> None:
        """Return when the old front has ended; tell it that it should."""
        self._send("stop")
        await self.wait_until_gone()

    async def wait_until_gone(self) -> None:
        """Return when the old front has ended."""
        await self._gone.wait()

    def _tell_phase(self, model: ModelId, phase: Phase) -> None:
        self._send("phase", model=model, phase=phase.value)

    # For waiters

    def granted(self, number: int, server: ModelServer) -> None:
        model = server.model
        self._tickets.pop(number, None)
        self._leases[model.id] += 1
        self._send("granted", id=number, model=model.id, proxy=model.proxy, port=model.port)
        if self._channel is None or self._channel.is_lost:
            self._release(model.id)

    def refused(self, number: int, refused: Fail) -> None:
        self._tickets.pop(number, None)
        self._send("refused", id=number, **refusal_fields(refused))

    def position(self, number: int, position: int) -> None:
        self._send("position", id=number, position=position)

    def _send(self, kind: str, **fields: Any) -> None:
        if self._channel is not None:
            self._channel.send(kind, **fields)

    # News from the old front

    def _on_message(self, message: Message) -> None:
        fleet = self._fleet
        assert fleet is not None
        match message["kind"]:
            case "ask":
                self._ask(fleet, message)
            case "cancel":
                ticket = self._tickets.pop(int(message["id"]), None)
                if ticket is not None:
                    fleet.cancel(ticket)
            case "release":
                self._release(ModelId(message["model"]))
            case "stalled":
                server = fleet.server(ModelId(message["model"]))
                if server is not None:
                    fleet.stalled(server, str(message["detail"]))
            case "unload":
                fleet.begin_unload([ModelId(m) for m in message["models"]], force=message["force"])
            case _:
                pass

    def _ask(self, fleet: Fleet | RemoteFleet, message: Message) -> None:
        number = int(message["id"])
        ticket = Ticket(RequestId(0), ModelId(message["model"]), _Waiter(self, number))
        self._tickets[number] = ticket
        request = LeaseRequest(
            ticket.model,
            ClientId(message["client"]),
            background=bool(message["background"]),
            watched=bool(message["watched"]),
            no_swap=bool(message["no_swap"]),
        )
        fleet.enter(ticket, request, is_new=bool(message["is_new"]))

    def _release(self, model: ModelId) -> None:
        if self._leases[model] > 0 and self._fleet is not None:
            self._leases[model] -= 1
            self._fleet.release(model)

    def _on_lost(self) -> None:
        fleet, self._channel = self._fleet, None
        assert fleet is not None
        for ticket in list(self._tickets.values()):
            fleet.cancel(ticket)
        self._tickets.clear()
        for model in list(self._leases):
            while self._leases[model] > 0:
                self._release(model)
        self._gone.set()


class _Waiter:
    """Waits in this front for a request of the old one."""

    def __init__(self, inheritance: Inheritance, number: int) -> None:
        self._inheritance = inheritance
        self._number = number

    def on_granted(self, server: ModelServer) -> None:
        self._inheritance.granted(self._number, server)

    def on_refused(self, refused: Fail) -> None:
        self._inheritance.refused(self._number, refused)

    def on_position(self, position: int) -> None:
        self._inheritance.position(self._number, position)


def inheritance(variables: MutableMapping[str, str] = os.environ) -> Inheritance | None:
    """Return what the process that started this one gives to it; None at an ordinary start."""
    parent, _, rest = variables.pop(VARIABLE, "").partition(":")
    channel, _, listening = rest.partition(":")
    if parent != str(os.getppid()):
        return None  # not ours: the variable has come down from somewhere else
    try:
        ours = socket.socket(fileno=int(channel))
        sockets = [socket.socket(fileno=int(number)) for number in listening.split(",")]
    except (OSError, ValueError):
        return None
    for one in (ours, *sockets):
        one.set_inheritable(False)
    return Inheritance(ours, sockets)
