"""The duties of process 1, as in a container without an init.

The kernel makes every orphan a child of process 1, which must wait for it, and gives it no default signal
actions. So process 1 runs the program in a child, passes signals on, and exits with the child's code; the
kernel then kills everything else. It follows a program that hands over to another process (`handover`).
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import Final

PASSED_ON: Final = frozenset(
    {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2}
)
VARIABLE: Final = "MODELSWAP_FIRST"
"""Environment variable of a successor: the descriptor of the pipe to process 1."""
_pipe: list[int] = []
"""The end of the pipe that tells process 1 which process runs the program; empty: not below one."""


def descriptors() -> tuple[int, ...]:
    return tuple(_pipe)


def variables() -> dict[str, str]:
    return {VARIABLE: str(_pipe[0])} if _pipe else {}


def announce(pid: int) -> None:
    """Tell process 1 which process runs the program from now on."""
    for fd in _pipe:
        with suppress(OSError):
            os.write(fd, b"%d\n" % pid)


def run_as_pid1() -> int | None:
    """Return `None` in the process that is to run the program; in process 1, its exit code at the end."""
    inherited = os.environ.pop(VARIABLE, "")
    if os.getpid() != 1:
        if inherited.isdecimal():
            with suppress(OSError):
                os.set_inheritable(int(inherited), False)  # noqa: FBT003 - the library's signature
                _pipe.append(int(inherited))
        return None
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    watched = PASSED_ON | {signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)  # else a Ctrl-C reaches it twice: from the terminal and from us
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(reader)
        _pipe.append(writer)
        return None
    os.close(writer)
    return _watch(child, reader, watched)


def _watch(program: int, reader: int, watched: frozenset[signal.Signals]) -> int:
    """Pass signals on to the program, or to the one it has handed over to, until that one ends."""
    while True:
        number = signal.sigwait(watched)
        program = _newest(program, reader)
        if number != signal.SIGCHLD:
            with suppress(ProcessLookupError):
                os.kill(program, number)
            continue
        codes, is_alone = _reap()
        if is_alone or program in codes:  # alone: the front before it has waited for it
            return codes.get(program, 1)


def _newest(program: int, reader: int) -> int:
    with suppress(BlockingIOError):
        while line := os.read(reader, 4096):
            program = int(line.split()[-1])
    return program


def _reap() -> tuple[dict[int, int], bool]:
    """Wait for all that have exited; return their codes, and whether no child is left."""
    codes: dict[int, int] = {}
    try:
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            code = os.waitstatus_to_exitcode(ended[1])
            codes[ended[0]] = code if code >= 0 else 128 - code
    except ChildProcessError:
        return codes, True
    return codes, False
