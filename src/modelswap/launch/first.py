"""Being process 1, as in a container without an init.

The kernel hands every orphan to process 1, which must wait for it or leave a zombie, and gives it no
default signal actions. So process 1 only does that: it runs the program in a child, passes signals on,
and ends with the child's exit code. The kernel then ends whatever else is in the container.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import Final

PASSED_ON: Final = frozenset(
    {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2}
)


def stay_behind_if_first() -> int | None:
    """Return `None` in whoever is to run the program; in process 1, its exit code at the end."""
    if os.getpid() != 1:
        return None
    watched = PASSED_ON | {signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)  # else a Ctrl-C reaches it twice: from the terminal and from us
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return None
    while True:
        number = signal.sigwait(watched)
        if number is signal.SIGCHLD:
            code = _reap(child)
            if code is not None:
                return code
        else:
            with suppress(ProcessLookupError):
                os.kill(child, number)


def _reap(child: int) -> int | None:
    """Wait for all that have ended; return the child's exit code if it was among them."""
    found: int | None = None
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == child:
                code = os.waitstatus_to_exitcode(ended[1])
                found = code if code >= 0 else 128 - code
    return found
