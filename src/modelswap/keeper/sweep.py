"""Kill every process that carries a dead keeper's mark: `python -I -S sweep.py KEEPER_ID`.

Run by the guard and by a front that lost its keeper; both at once do no harm. It looks again until
two looks in a row found nothing, because a process may fork while it is being looked for.
"""

import os
import signal
import sys
import time

_PAUSE = 0.01
_LOOKS = 1000
"""A process that cannot die (uninterruptible) must not keep us here for ever."""


def marked(prefix: bytes) -> list[int]:
    """The living processes whose environment holds an entry that starts so."""
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
    """Return when nothing is left of that keeper's runs."""
    prefix = f"MODELSWAP_RUN={keeper}.".encode()
    quiet = 0
    for _ in range(_LOOKS):
        left = marked(prefix)
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue
        quiet = 0 if left else quiet + 1
        if quiet > 1:
            return
        time.sleep(_PAUSE)


if __name__ == "__main__" and sys.platform == "linux":
    sweep(sys.argv[1])
