"""Kills every process that carries a dead keeper's marker: `python -I -S sweep.py KEEPER_ID`.

The guard runs it, and so does a front that lost its keeper; both at once do no harm. It scans until two
scans in a row found nothing, because a process may fork meanwhile. It imports nothing of modelswap: a
keeper of an earlier version starts it by its path.
"""

import os
import sys
import time

_SIGKILL = 9
"""The number on every Unix; the module `signal` would cost the keeper half a megabyte."""
_PAUSE = 0.01
"""Seconds between two scans: a killed process has exited by then."""
_MAX_SCANS = 1000
"""About ten seconds: a process that cannot be killed (uninterruptible) must not keep us for ever."""


def marked(prefix: bytes) -> list[int]:
    found: list[int] = []
    for name in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208 - pathlib is slow to import
        try:
            with open(f"/proc/{name}/environ", "rb") as file:  # noqa: PTH123 - as above
                entries = file.read().split(b"\0")
        except OSError:
            continue
        if any(entry.startswith(prefix) for entry in entries) and int(name) != os.getpid():
            found.append(int(name))
    return found


def sweep(keeper: str) -> None:
    prefix = f"MODELSWAP_RUN={keeper}.".encode()
    quiet = 0
    for _ in range(_MAX_SCANS):
        left = marked(prefix)
        for pid in left:
            try:
                os.kill(pid, _SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue
        quiet = 0 if left else quiet + 1
        if quiet > 1:
            return
        time.sleep(_PAUSE)


if __name__ == "__main__" and sys.platform == "linux":
    sweep(sys.argv[1])
