"""The new process's side of a hand-over.

Guarantees: nothing is taken over before the old process sends `go`. Each of its leases ends when it
says so, and all of them end with it.
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
from modelswap.units import Seconds

from .channel import Channel, ChannelError

if TYPE_CHECKING:
    from collections.abc import MutableMapping, Sequence

    from modelswap.core.commands import Fail
    from modelswap.core.models.lifecycle import Phase
    from modelswap.fleet import Fleet, ModelServer, RemoteFleet

    from .channel import Message

VARIABLE: Final = "MODELSWAP_HANDOVER"
"""`PARENT:CHANNEL:SOCKET,SOCKET…`: the old process's pid, and descriptors of this one."""
GO_TIMEOUT: Final = Seconds(30.0)
"""For the old process to disconnect from the keeper: one closed connection on a busy machine."""


class OldFront:
    """The process that hands over to this one, and what it has given."""

    def __init__(self, channel: socket.socket, listening: Sequence[socket.socket]) -> None:
        self.listening = listening
        self._socket = channel
        self._channel: Channel | None = None
        self._fleet: Fleet | RemoteFleet | None = None
        self._tickets: dict[int, Ticket] = {}
        self._leases: Counter[ModelId] = Counter()
        self._pulls: tuple[str, ...] = ()
        self._exited = asyncio.Event()
        self.next_id = 1
        """The first activity id that the old process does not use."""
        self.unsettled: list[range] = []
        """Activity ids that processes before it may still use."""
        self.profile: str | None = None

    def report_failure(self, lines: Sequence[str]) -> None:
        """Send the old process the reason why this one cannot take over."""
        with suppress(OSError):
            self._socket.sendall(
                json.dumps({"kind": "failed", "lines": list(lines)}).encode() + b"\n"
            )

    async def take_over(self) -> Inherited:
        """Send `ready`, and return what the old process still does with the models.

        An old process that has exited meanwhile leaves only the sockets.

        Raises:
            ChannelError: the old process goes on itself.
        """
        self._channel = await Channel.over(self._socket.dup())
        self._channel.send("ready")
        try:
            message = await self._channel.receive(GO_TIMEOUT)
        except ChannelError:
            return Inherited()
        if message["kind"] != "go":
            raise ChannelError("the hand-over was called off")
        self.next_id = int(message["next_id"])
        earlier = message.get("unsettled", ())  # earlier versions send none
        self.unsettled = [range(*ids) for ids in earlier]
        self.profile = message["profile"]
        self._leases.update({ModelId(m): int(n) for m, n in message["leases"].items()})
        self._pulls = tuple(map(str, message.get("pulls", ())))
        kept = message.get("kept", {})  # as above
        return Inherited(
            leases=dict(self._leases),
            ready=frozenset(ModelId(m) for m in message["ready"]),
            pulls=self._pulls,
            kept={ModelId(m): Seconds(s) for m, s in kept.items()},
        )

    def start_serving(self, fleet: Fleet) -> None:
        """Send `serving`, and grant leases to the old process from now on."""
        assert self._channel is not None
        self.use_fleet(fleet)
        self._channel.send("serving")
        for source in self._pulls:
            fleet.pull(source)
        self._channel.listen(self._on_message, self._on_lost)

    def use_fleet(self, fleet: Fleet | RemoteFleet) -> None:
        """Grant leases of *fleet*, which counts those of the old process already."""
        self._fleet = fleet
        fleet.departures.add(self._send_phase)

    async def wait_until_unused(self) -> None:
        """Ask the old process to stop, and return when it has exited."""
        self._send("stop")
        await self.wait_until_gone()

    @property
    def is_gone(self) -> bool:
        return self._exited.is_set()

    async def wait_until_gone(self) -> None:
        await self._exited.wait()

    def _send_phase(self, model: ModelId, phase: Phase) -> None:
        self._send("phase", model=model, phase=phase.value)

    # Answers to its requests

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

    # Messages of the old process

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
                ttl = message.get("ttl")
                self._release(ModelId(message["model"]), None if ttl is None else Seconds(ttl))
            case "stalled":
                server = fleet.server(ModelId(message["model"]))
                if server is not None:
                    fleet.stalled(server, str(message["detail"]))
            case "pull":
                fleet.pull(str(message["source"]))
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
            number=0,  # the list of running requests is the old process's
        )
        fleet.enter(ticket, request, is_new=bool(message["is_new"]))

    def _release(self, model: ModelId, ttl: Seconds | None = None) -> None:
        if self._leases[model] > 0 and self._fleet is not None:
            self._leases[model] -= 1
            self._fleet.release(model, ttl)

    def _on_lost(self) -> None:
        fleet, self._channel = self._fleet, None
        assert fleet is not None
        for ticket in list(self._tickets.values()):
            fleet.cancel(ticket)
        self._tickets.clear()
        for model in list(self._leases):
            while self._leases[model] > 0:
                self._release(model)
        self._exited.set()


class _Waiter:
    """Waits in this process for a request of the old one."""

    def __init__(self, old_front: OldFront, number: int) -> None:
        self._old_front = old_front
        self._number = number

    def on_granted(self, server: ModelServer) -> None:
        self._old_front.granted(self._number, server)

    def on_refused(self, refused: Fail) -> None:
        self._old_front.refused(self._number, refused)

    def on_position(self, position: int) -> None:
        self._old_front.position(self._number, position)


def find_old_front(variables: MutableMapping[str, str] = os.environ) -> OldFront | None:
    """Return the process that hands over to this one; None at an ordinary start."""
    parent, _, rest = variables.pop(VARIABLE, "").partition(":")
    channel, _, listening = rest.partition(":")
    if parent != str(os.getppid()):
        return None  # inherited from an ancestor: not for this process
    try:
        ours = socket.socket(fileno=int(channel))
        sockets = [socket.socket(fileno=int(number)) for number in listening.split(",")]
    except (OSError, ValueError):
        return None
    for one in (ours, *sockets):
        one.set_inheritable(False)
    return OldFront(ours, sockets)
