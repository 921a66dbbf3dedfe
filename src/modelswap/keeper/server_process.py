"""One model server: its main process, its output, and the processes that it started.

A server has ended when its main process *and* everything that process started have exited.

Memory: of output that no front has fetched, the newest `OUTPUT_LIMIT` bytes are kept.
"""

from __future__ import annotations

import os

from modelswap.procfs import HAS_PROC, start_time, subtree, variable_of

from .lean import signal
from .protocol import KILL, MARKER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

OUTPUT_LIMIT = 100 << 10
"""Bytes for each server: what it prints during the grace without a front, most of the time."""
_CHUNK = 64 << 10
"""Bytes: a Linux pipe holds as much."""


class Output:
    """The pipe of one server, and its output that is not fetched yet."""

    def __init__(self) -> None:
        # Both ends stay open: "closed for now" need not be told from "closed for ever".
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)
        self._pending = bytearray()
        self._dropped = 0

    def pump(self) -> bool:
        """Read one chunk; say whether there was one."""
        try:
            data = os.read(self.reader, _CHUNK)
        except BlockingIOError:
            return False
        self._pending += data
        excess = len(self._pending) - OUTPUT_LIMIT
        if excess > 0:
            del self._pending[:excess]
            self._dropped += excess
        return True

    def take(self) -> bytes:
        """Return what is there, with a line in it where something is missing."""
        data = bytes(self._pending)
        self._pending.clear()
        if self._dropped:
            data = b"\n[modelswap: %d bytes of output dropped]\n" % self._dropped + data
            self._dropped = 0
        return data

    def close(self) -> None:
        os.close(self.reader)
        os.close(self.writer)


class ServerProcess:
    """One server, from its start until all its processes have exited."""

    def __init__(self, number: int, model: str, tag: Mapping[str, object]) -> None:
        self.number = number
        self.model = model
        self.tag = tag
        """The front's own facts (fingerprint, port), handed back to the next front as they are."""
        self.output = Output()
        self.pid = 0
        self.started = 0
        self.code: int | None = None
        """Of the main process: exit code, or minus the signal; `None` while it runs."""
        self.stopping = False
        self.killing = False
        self.stop_pid: int | None = None
        """Pid of the stop command, while it runs."""
        self.is_main_exit_reported = False
        """Whether the front knows that the main process has exited and others run on."""
        self._terminated: set[int] = set()
        self._orphans: set[int] = set()
        self._seen: set[int] = set()

    def on_started(self, pid: int) -> None:
        self.pid = pid
        self.started = start_time(pid)

    def owns(self, orphan: int, marker: str) -> bool:
        """Whether a process that became the keeper's child as an orphan belongs to this server."""
        if orphan in self._seen or variable_of(orphan, MARKER) == marker:
            return True
        try:
            return self.pid in (os.getpgid(orphan), os.getsid(orphan))
        except OSError:
            return False

    def adopt(self, orphans: Iterable[int]) -> None:
        self._orphans = set(orphans)

    def members(self) -> list[int]:
        """Return every process of the server that can be signalled."""
        roots = [*([self.pid] if self.code is None else []), *sorted(self._orphans)]
        found = [pid for pid in subtree(roots) if send(pid, 0)]
        self._seen.update(found)
        if not HAS_PROC and not found and self.code is not None and send(-self.pid, 0):
            return [-self.pid]  # only the group is known
        return found

    def signal(self, how: str) -> None:
        """Send SIGTERM or SIGKILL to all members, in the group or not."""
        number = signal.SIGKILL if how == KILL else signal.SIGTERM
        self.killing = self.killing or how == KILL
        self.stopping = True
        members = self.members()
        self._terminated.update(members)
        # Once the main process is waited for and its group is empty, the number may be a foreign one's.
        if self.code is None or any(_in_group(pid, self.pid) for pid in members):
            send(-self.pid, number)
        for pid in members:
            if not _in_group(pid, self.pid):
                send(pid, number)
        if self.stop_pid is not None and how == KILL:
            send(-self.stop_pid, number)

    def not_terminated(self, members: Iterable[int]) -> list[int]:
        """Return those that got no SIGTERM yet; they count as terminated from now on."""
        fresh = [pid for pid in members if pid not in self._terminated]
        self._terminated.update(fresh)
        return fresh


def send(target: int, number: int) -> bool:
    """Signal a process, or a group when negative; say whether it is there and ours."""
    try:
        os.kill(target, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _in_group(pid: int, group: int) -> bool:
    try:
        return pid < 0 or os.getpgid(pid) == group
    except ProcessLookupError:
        return True
