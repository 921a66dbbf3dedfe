"""The old process's side of a hand-over.

Guarantees: until the new process serves, a failure changes nothing in this one. From then on this
one has a `RemoteFleet`, and only finishes its requests.
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
from modelswap.units import Seconds

from .channel import Channel, ChannelError
from .incoming import VARIABLE

if TYPE_CHECKING:
    import signal
    from collections.abc import Iterable, Mapping, Sequence

    from modelswap.config.plan import Plan
    from modelswap.fleet import Fleet

    from .channel import Message

READY_TIMEOUT: Final = Seconds(60.0)
"""For the new process to start and to check everything, on a busy machine."""
SERVING_TIMEOUT: Final = Seconds(30.0)
"""For it to connect to the keeper; servers that are stopping delay that by up to 6 s."""
_EXIT_TIMEOUT: Final = Seconds(5.0)
"""For it to exit after `abort`, before it is killed: it has no requests yet."""


class HandoverError(Exception):
    """The new process did not take over; the lines say why."""

    def __init__(self, *lines: str) -> None:
        super().__init__("; ".join(lines))
        self.lines = lines


class NewFront:
    """The process that takes over, from its start."""

    def __init__(self, process: subprocess.Popen[bytes], channel: Channel) -> None:
        self._process = process
        self._channel = channel
        self._unsent: list[tuple[str, dict[str, Any]]] | None = []
        self.pid = process.pid
        self.fleet: RemoteFleet | None = None
        self.asks_to_stop = asyncio.Event()

    async def wait_ready(self) -> None:
        """Return when it has loaded and checked everything; raise HandoverError when it cannot."""
        await self._expect("ready", READY_TIMEOUT)

    def make_remote_fleet(self, fleet: Fleet, plan: Plan) -> RemoteFleet:
        """Make a fleet whose leases come from the new process; its messages wait for `go`."""
        self.fleet = RemoteFleet(fleet, plan, self._send)
        return self.fleet

    async def go(self, *, next_id: int, unsettled: Iterable[range], profile: str | None) -> None:
        """Let it adopt the models, and return when it serves; raise HandoverError when it fails.

        *next_id* is the first activity id that it gives, *unsettled* are those of processes before this one.
        """
        assert self.fleet is not None
        inherited = self.fleet.inherited
        self._channel.send(
            "go",
            leases=dict(inherited.leases),
            ready=sorted(inherited.ready),
            pulls=inherited.pulls,
            kept=dict(inherited.kept),
            next_id=next_id,
            unsettled=[(ids.start, ids.stop) for ids in unsettled],
            profile=profile,
        )
        unsent, self._unsent = self._unsent or [], None
        for kind, fields in unsent:
            self._channel.send(kind, **fields)
        await self._expect("serving", SERVING_TIMEOUT)
        self._channel.listen(self._on_message, self._on_lost)

    def _send(self, kind: str, **fields: Any) -> None:
        if self._unsent is None:
            self._channel.send(kind, **fields)
        else:
            self._unsent.append((kind, fields))

    async def _expect(self, kind: str, within: Seconds) -> None:
        try:
            message = await self._channel.receive(within)
        except ChannelError as error:
            code = await self.stop()
            why = str(error) if code is None else f"it ended with exit code {code}"
            raise HandoverError(f"the new front: {why}") from error
        if message["kind"] != kind:
            await self.stop()
            raise HandoverError(*map(str, message.get("lines", (f"it said {message['kind']}",))))

    async def stop(self) -> int | None:
        """Make sure that it exits; return its exit code when it had exited by itself."""
        self._channel.send("abort")  # else it would take the lost channel for a crash, and serve
        code: int | None = None
        with suppress(subprocess.TimeoutExpired):
            code = await asyncio.to_thread(self._process.wait, _EXIT_TIMEOUT)
        if code is None:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)
        self._channel.close()  # before, its `ready` would fail, and the channel be lost to it
        return code

    def forward_signal(self, number: signal.Signals) -> None:
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
        self.asks_to_stop.set()
        self.fleet.refuse_all()


async def start(
    listening: Sequence[int], *, variables: Mapping[str, str], keep: Sequence[int] = ()
) -> NewFront:
    """Start the command that this process was started with.

    *listening*: the descriptors that it accepts on. *keep*: others that it inherits.
    """
    ours, theirs = socket.socketpair()
    with ExitStack() as stack:
        stack.callback(theirs.close)
        numbers = ",".join(map(str, listening))
        env = {**os.environ, **variables, VARIABLE: f"{os.getpid()}:{theirs.fileno()}:{numbers}"}
        inherited = (theirs.fileno(), *listening, *keep)
        try:
            process = subprocess.Popen(  # noqa: ASYNC220, S603 - our own command; a fork, no wait
                [sys.executable, *sys.orig_argv[1:]], env=env, pass_fds=inherited
            )
        except OSError as error:
            ours.close()
            raise HandoverError(f"the new front cannot be started: {error.strerror}") from error
    restore_limit_of(process.pid)
    return NewFront(process, await Channel.over(ours))
