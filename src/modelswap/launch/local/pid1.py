"""Being process 1, as in a container without an init.

The kernel hands every orphan to process 1, which must wait for it or leave a zombie, and gives it no
default signal actions. So process 1 only does that: it runs the program in a child, passes signals on,
and ends with the child's exit code. The kernel then ends whatever else is in the container. When the
program hands over to another process (`handover`), it follows that one.
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
"""For a program that another one has started below process 1: the descriptor that leads there."""
_line: list[int] = []
"""Where process 1 hears which process runs the program now; empty when it is not ours."""


def descriptors() -> tuple[int, ...]:
    """Return what a successor has to inherit."""
    return tuple(_line)


def variables() -> dict[str, str]:
    """Return what a successor has to find in its environment."""
    return {VARIABLE: str(_line[0])} if _line else {}


def tell(pid: int) -> None:
    """Tell process 1 which process runs the program from now on."""
    for fd in _line:
        with suppress(OSError):
            os.write(fd, b"%d\n" % pid)


def stay_behind_if_first() -> int | None:
    """Return `None` in whoever is to run the program; in process 1, its exit code at the end."""
    inherited = os.environ.pop(VARIABLE, "")
    if os.getpid() != 1:
        if inherited.isdecimal():
            with suppress(OSError):
                os.set_inheritable(int(inherited), False)  # noqa: FBT003 - the library's signature
                _line.append(int(inherited))
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
        _line.append(writer)
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
        if is_alone or program in codes:
            return codes.get(program, 1)


def _newest(program: int, reader: int) -> int:
    with suppress(BlockingIOError):
        while line := os.read(reader, 4096):
            program = int(line.split()[-1])
    return program


def _reap() -> tuple[dict[int, int], bool]:
    """Wait for all that have ended; return their exit codes, and whether nobody is left at all.

    The program may be gone without a code: the front before it has waited for it.
    """
    codes: dict[int, int] = {}
    try:
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            code = os.waitstatus_to_exitcode(ended[1])
            codes[ended[0]] = code if code >= 0 else 128 - code
    except ChildProcessError:
        return codes, True
    return codes, False
