"""The running front's side of a hand-over: start the new front, and give it everything.

Guarantees: until the new front serves, a failure changes nothing here but that a line says why; from
then on this front has a `RemoteFleet`, and only finishes what it has.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Final

from modelswap.fleet import RemoteFleet
from modelswap.net.descriptors import restore_limit_of

from .channel import Channel, ChannelError
from .incoming import VARIABLE

if TYPE_CHECKING:
    import signal
    from collections.abc import Mapping, Sequence

    from modelswap.config.plan import Plan
    from modelswap.fleet import Fleet

    from .channel import Message

READY_WITHIN: Final = 60.0
"""Seconds for a new front to start and to check everything, on a machine that is busy."""
SERVING_WITHIN: Final = 30.0
"""Seconds for it to reach the keeper; servers that are on their way out take up to 6."""
_END_WITHIN: Final = 5.0


class HandoverError(Exception):
    """The new front did not take over; the lines say why."""

    def __init__(self, *lines: str) -> None:
        super().__init__("; ".join(lines))
        self.lines = lines


class Successor:
    """The new front, from its start."""

    def __init__(self, process: subprocess.Popen[bytes], channel: Channel) -> None:
        self._process = process
        self._channel = channel
        self._outbox: list[tuple[str, dict[str, Any]]] | None = []
        self.pid = process.pid
        self.fleet: RemoteFleet | None = None
        self.asks_to_stop = asyncio.Event()
        self.is_gone = asyncio.Event()

    async def ready(self) -> None:
        """Return when it has loaded and checked everything.

        Raises:
            HandoverError: it cannot take over.
        """
        await self._expect("ready", READY_WITHIN)

    def inherit(self, fleet: Fleet, plan: Plan) -> RemoteFleet:
        """From now on every lease comes from the new front; `go` reaches it first."""
        self.fleet = RemoteFleet(fleet, plan, self._send)
        return self.fleet

    async def go(self, *, next_id: int, profile: str | None) -> None:
        """Let it take the models, and return when it serves.

        Raises:
            HandoverError: it failed.
        """
        assert self.fleet is not None
        inherited = self.fleet.inherited
        self._channel.send(
            "go",
            leases=dict(inherited.leases),
            ready=sorted(inherited.ready),
            next_id=next_id,
            profile=profile,
        )
        outbox, self._outbox = self._outbox or [], None
        for kind, fields in outbox:
            self._channel.send(kind, **fields)
        await self._expect("serving", SERVING_WITHIN)
        self._channel.attend(self._on_message, self._on_lost)

    def _send(self, kind: str, **fields: Any) -> None:
        if self._outbox is None:
            self._channel.send(kind, **fields)
        else:
            self._outbox.append((kind, fields))

    async def _expect(self, kind: str, within: float) -> None:
        try:
            message = await self._channel.receive(within)
        except ChannelError as error:
            ended = await self.end()
            said = str(error) if ended is None else f"it ended with exit code {ended}"
            raise HandoverError(f"the new front: {said}") from error
        if message["kind"] != kind:
            await self.end()
            raise HandoverError(*map(str, message.get("lines", (f"it said {message['kind']}",))))

    async def end(self) -> int | None:
        """See that it is gone; return its exit code when it ended by itself."""
        self._channel.send("abort")  # else it would take our end for a crash, and serve
        self._channel.close()
        ended: int | None = None
        with suppress(subprocess.TimeoutExpired):
            ended = await asyncio.to_thread(self._process.wait, _END_WITHIN)
        if ended is None:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)
        return ended

    def pass_on(self, number: signal.Signals) -> None:
        """Send the new front a signal that was meant for it."""
        if self._process.poll() is None:
            self._process.send_signal(number)

    def _on_message(self, message: Message) -> None:
        assert self.fleet is not None
        if message["kind"] == "stop":
            self.asks_to_stop.set()
        else:
            self.fleet.on_message(str(message["kind"]), message)

    def _on_lost(self) -> None:
        assert self.fleet is not None
        self.is_gone.set()
        self.asks_to_stop.set()
        self.fleet.refuse_all()


async def start(
    listening: Sequence[int], *, variables: Mapping[str, str], keep: Sequence[int] = ()
) -> Successor:
    """Start the command that this process was started with.

    *listening*: the descriptors that it gets to accept on. *keep*: others that it inherits.

    Raises:
        HandoverError: it cannot be started.
    """
    ours, theirs = socket.socketpair()
    with ExitStack() as stack:
        stack.callback(theirs.close)
        numbers = ",".join(map(str, listening))
        env = {
            **os.environ,
            **variables,
            VARIABLE: f"{os.getpid()}:{theirs.fileno()}:{numbers}",
        }
        inherited = (theirs.fileno(), *listening, *keep)
        try:
            process = subprocess.Popen(  # noqa: ASYNC220, S603 - our own command; a fork, no wait
                [sys.executable, *sys.orig_argv[1:]], env=env, pass_fds=inherited
            )
        except OSError as error:
            ours.close()
            raise HandoverError(f"the new front cannot be started: {error.strerror}") from error
    restore_limit_of(process.pid)
    return Successor(process, await Channel.over(ours))
