"""Which processes exist and who belongs to whom, as the system tells it.

On Linux the keeper is the reaper of orphans (`PR_SET_CHILD_SUBREAPER`), so everything a server ever
started is a descendant of the keeper, whatever group or session it moved to. `/proc` says the rest.
Elsewhere only process groups are known, and the lists here are empty. Nothing here sends a signal.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

HAS_PROC = os.path.exists("/proc/self/stat")  # noqa: PTH110 - pathlib would double the keeper's start


def read_bytes(path: str) -> bytes:
    """The file's bytes; empty when the process is gone or not ours to see."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        pieces: list[bytes] = []
        while piece := os.read(fd, 65536):
            pieces.append(piece)
        return b"".join(pieces)
    except OSError:
        return b""
    finally:
        os.close(fd)


def _stat_fields(pid: int) -> list[bytes]:
    # The name in parentheses may hold anything, so the fields are counted from the last ")".
    return read_bytes(f"/proc/{pid}/stat").rpartition(b")")[2].split()


def start_time(pid: int) -> int:
    """When the process started, in ticks since boot: with the pid, its identity. 0: unknown."""
    fields = _stat_fields(pid)
    return int(fields[19]) if len(fields) > 19 else 0  # noqa: PLR2004 - proc(5), field 22


def all_pids() -> list[int]:
    """Every process id that is visible."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()] if HAS_PROC else []  # noqa: PTH208 - as above


def children(pid: int) -> list[int]:
    """The direct children of a process; empty where the system does not say."""
    try:
        tasks = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 - as above
    except OSError:
        return []
    found: list[int] = []
    for task in tasks:
        found += map(int, read_bytes(f"/proc/{pid}/task/{task}/children").split())
    return found if found or _KERNEL_LISTS_CHILDREN else _children_by_scan(pid)


_KERNEL_LISTS_CHILDREN = os.path.exists(f"/proc/self/task/{os.getpid()}/children")  # noqa: PTH110 - as above


def _children_by_scan(parent: int) -> list[int]:
    wanted = str(parent).encode()
    return [pid for pid in all_pids() if _stat_fields(pid)[1:2] == [wanted]]


def subtree(roots: Iterable[int]) -> list[int]:
    """The processes given and all their descendants, parents first."""
    found = list(roots)
    seen = set(found)
    for pid in found:  # grows while it is walked
        fresh = [child for child in children(pid) if child not in seen]
        seen.update(fresh)
        found += fresh
    return found


def mark_of(pid: int, marker: str) -> str:
    """The value of the environment variable `marker` that the process was started with."""
    prefix = marker.encode() + b"="
    for entry in read_bytes(f"/proc/{pid}/environ").split(b"\0"):
        if entry.startswith(prefix):
            return entry[len(prefix) :].decode("utf-8", "replace")
    return ""
