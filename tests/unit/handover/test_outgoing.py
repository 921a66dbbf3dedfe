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
