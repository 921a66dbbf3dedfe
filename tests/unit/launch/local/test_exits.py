"""What follows from how a server ended and what it said."""

from __future__ import annotations

import signal

import pytest

from modelswap.core.failure import Cause
from modelswap.core.spec import ServerId
from modelswap.launch.local.exits import exit_of
from modelswap.launch.local.server import LocalServer
from modelswap.launch.protocol import LaunchSpec

OOM = b"CUDA error: out of memory\n"
FAILED = b"error: failed to open file '/x'\n"


def server_of(
    said: bytes, *, ready: bool = False, early: bytes = b"", key: str = ""
) -> LocalServer:
    argv = ("server", "--api-key", key) if key else ("server",)
    server = LocalServer(
        1, LaunchSpec(server=ServerId("m"), argv=argv, url="http://127.0.0.1:1"), pid=1
    )
    server.tail.add(early)
    if ready:
        server.on_ready()
    server.tail.add(said)
    return server


@pytest.mark.parametrize(
    ("server", "code", "cause", "text"),
    [
        (server_of(b""), 3, Cause.EXITED, "exited with code 3"),
        (server_of(b""), -15, Cause.KILLED, "killed by signal 15"),
        (server_of(b""), -4, Cause.CRASHED, "killed by signal 4"),
        (server_of(b""), 127, Cause.PROGRAM_NOT_FOUND, "exited with code 127"),
        (server_of(b""), 139, Cause.CRASHED, "exited with code 139"),
        (server_of(b""), 200, Cause.EXITED, "exited with code 200"),
        (
            server_of(b""),
            -9,
            Cause.KILLED,
            "killed by signal 9, perhaps by the system for lack of memory",
        ),
        (
            server_of(FAILED),  # SGLang kills itself after it has said why
            -9,
            Cause.FILE_NOT_FOUND,
            (
                "error: failed to open file '/x' (killed by signal 9, perhaps by the system for lack of "
                "memory)"
            ),
        ),
        (
            server_of(FAILED, ready=True),
            -15,
            Cause.KILLED,
            "killed by signal 15; its output: error: failed to open file '/x'",
        ),
        (
            server_of(OOM, ready=True),
            -6,
            Cause.OUT_OF_MEMORY,
            "CUDA error: out of memory (killed by signal 6)",
        ),
        (
            server_of(b"bye\n", ready=True, early=OOM),
            1,
            Cause.EXITED,
            "exited with code 1; its output: bye",
        ),
        (
            server_of(b"error: wrong key: sesame\n", key="sesame"),
            1,
            Cause.EXITED,
            "error: wrong key: *** (exited with code 1)",
        ),
    ],
)
def test_why_it_ended(server: LocalServer, code: int, cause: Cause, text: str) -> None:
    """The line stands for the end where it is the reason, and beside it where it need not be."""
    ending = exit_of(server, code)
    assert ending.failure is not None
    assert (ending.failure.cause, ending.failure.text) == (cause, text)
    assert ending.failure.is_lasting is cause.is_lasting
    assert "/x" not in ending.failure.brief


def test_an_end_that_was_asked_for_is_no_failure() -> None:
    """Whatever it printed."""
    server = server_of(FAILED, ready=True)
    server.is_stopping = True
    ending = exit_of(server, -signal.SIGTERM)
    assert (ending.failure, ending.signal) == (None, 15)
