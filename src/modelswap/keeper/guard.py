"""The guard: a sleeping shell that outlives a keeper which is killed.

The parent-death signal does not reach what the servers started. So a shell waits on a pipe that only
the keeper holds open: when the pipe closes, the keeper is dead, and the shell becomes `sweep.py`.
A shell that waits costs one megabyte of memory, a Python ten.
"""

from __future__ import annotations

import os
import sys

from .child import spawn_guard
from .lean import signal

_SHELL = "/bin/sh"
_SCRIPT = 'trap "" HUP INT TERM; read -r _; exec "$@"'


class Guard:
    """Started with the keeper, and again when it is killed; stopped when no server is left."""

    def __init__(self, keeper: str) -> None:
        self.pid = 0
        sweep = __file__.rpartition("/")[0] + "/sweep.py"
        self._argv = [_SHELL, "-c", _SCRIPT, "modelswap-guard"]
        self._argv += [sys.executable, "-I", "-S", sweep, keeper]
        self._alarm, self._held_open = os.pipe()

    def start(self) -> None:
        if sys.platform != "linux":
            return  # nothing could be found by its mark
        try:
            self.pid = spawn_guard(self._argv, self._alarm)
        except OSError:
            self.pid = 0  # no shell here; the front sweeps, if there is one

    def stop(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
