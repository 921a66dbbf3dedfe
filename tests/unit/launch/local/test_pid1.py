"""Process 1, where a process whose end it waits for is gone already."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import os, signal
from modelswap.launch.local.pid1 import PASSED_ON, _watch
reader, writer = os.pipe()
os.set_blocking(reader, False)
watched = PASSED_ON | {signal.SIGCHLD}
signal.pthread_sigmask(signal.SIG_BLOCK, watched)
new = os.fork()
if new == 0:
    os._exit(5)
os.waitpid(new, 0)  # as a front does that has handed over, and gets a signal to pass on
os.write(writer, b"%d\\n" % new)
if os.fork() == 0:
    os._exit(0)
raise SystemExit(_watch(new, reader, watched))
"""


def test_it_ends_when_no_child_is_left() -> None:
    """Another process has waited for the program: its exit code never arrives."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], timeout=30, check=False)
    assert done.returncode == 1
