"""The old process's side: what it says of a new process that fails."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from modelswap.handover.channel import Channel
from modelswap.handover.outgoing import HandoverError, NewFront


async def test_a_new_process_that_exits_is_reported_with_its_exit_code() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    with subprocess.Popen([sys.executable, "-c", "raise SystemExit(7)"]) as process:  # noqa: ASYNC220 - a fork, no wait
        new_front = NewFront(process, await Channel.over(ours))
        with pytest.raises(HandoverError, match=r"^the new front: it ended with exit code 7$"):
            await new_front.wait_ready()


SLOW = """
import socket, sys
channel = socket.socket(fileno=int(sys.argv[1]))
channel.recv(1, socket.MSG_PEEK)  # `abort` comes before it is ready
channel.sendall(b'{"kind": "ready"}\\n')
sys.exit(0 if b"abort" in channel.recv(100) else 9)
"""


async def test_a_new_process_that_is_ready_late_learns_that_it_is_not_wanted() -> None:
    """The channel stays until it has exited: it writes there before it reads."""
    ours, theirs = socket.socketpair()
    number = theirs.fileno()
    with (
        theirs,
        subprocess.Popen(  # noqa: ASYNC220 - a fork, no wait
            [sys.executable, "-c", SLOW, str(number)], pass_fds=[number]
        ) as process,
    ):
        theirs.close()
        assert await NewFront(process, await Channel.over(ours)).stop() == 0
