"""Which processes belong to a model server, as `/proc` shows them.

The keeper marks each server's environment, and is the parent of what the server's processes leave behind.

Does not: see the processes of a container that was started by a client of a daemon (`docker run`): they are the
daemon's.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from modelswap import procfs
from modelswap.keeper.protocol import MARKER

if TYPE_CHECKING:
    from collections.abc import Iterable

_CLIENTS: Final = frozenset({"docker", "nerdctl", "podman", "docker-compose", "kubectl", "ssh"})
"""Programs whose work is done by processes elsewhere."""
_MONITOR: Final = "conmon"
"""Of podman: its children are those of the container, and it becomes the keeper's child."""


def processes_of(pid: int) -> list[int]:
    """Return all processes of the server whose main process is *pid*; *pid* alone without a `/proc`.

    Those are its descendants, and what became the keeper's children as orphans, also after the main process has
    exited.
    """
    if not procfs.HAS_PROC:
        return [pid]
    if procfs.start_time(pid) == 0:  # it has exited: what it started is in its group still
        return procfs.subtree(other for other in procfs.all_pids() if _group(other) == pid)
    marker = procfs.variable_of(pid, MARKER)
    keeper = procfs.parent(pid)
    orphans = [child for child in procfs.children(keeper) if child != pid] if marker else []
    return procfs.subtree([pid, *(one for one in orphans if _belongs(one, pid, marker))])


def is_elsewhere(processes: Iterable[int]) -> bool:
    """Whether a server's memory is not that of its processes: one of them is a container's client, or ssh."""
    names = {procfs.name_of(pid) for pid in processes}
    return not names.isdisjoint(_CLIENTS) and _MONITOR not in names


def all_server_processes() -> list[int]:
    """Return the processes of every modelswap's servers on this machine, as far as they are ours to see."""
    return [pid for pid in procfs.all_pids() if procfs.variable_of(pid, MARKER)]


def _belongs(orphan: int, pid: int, marker: str) -> bool:
    return procfs.variable_of(orphan, MARKER) == marker or _group(orphan) == pid


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except OSError:
        return 0
