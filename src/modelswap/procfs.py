"""What the kernel says of processes: `/proc`, and the peer of a Unix socket.

Guarantees: a process that is gone or hidden is empty, zero or absent, never an error; so is all without
a `/proc`. It imports little of the standard library, because the keeper starts with it.
"""

from __future__ import annotations

import os
import struct

TYPE_CHECKING = False  # `typing` itself would cost the keeper a megabyte
if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable
else:
    try:
        import _socket as socket  # the module above it would cost the keeper a megabyte
    except ImportError:
        import socket

HAS_PROC = os.path.exists("/proc/self/stat")  # noqa: PTH110 - pathlib would double the keeper's start
_KERNEL_LISTS_CHILDREN = os.path.exists(f"/proc/self/task/{os.getpid()}/children")  # noqa: PTH110 - as above
_PPID = 1
"""Index of the parent's id among the fields of proc(5) `stat` behind the name: field 4."""
_START_TIME = 19
"""The same for field 22."""
_CREDENTIALS = struct.Struct("iII")
"""`struct ucred` of Linux: process, user, group."""
_KIB = 1024
"""Bytes of the unit `kB`."""
_CHUNK = 65536
"""Bytes of one read; most files of `/proc` are shorter."""


def read_bytes(path: str) -> bytes:
    """Return a file's bytes; empty when the process is gone or the file is not ours to read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        pieces: list[bytes] = []
        while piece := os.read(fd, _CHUNK):
            pieces.append(piece)
        return b"".join(pieces)
    except OSError:
        return b""
    finally:
        os.close(fd)


def sizes(path: str) -> dict[bytes, int]:
    """Return the lines `Name:  12 kB` of a file, such as `/proc/meminfo`, in bytes, by name with its colon."""
    rows = (line.split() for line in read_bytes(path).splitlines() if line.endswith(b" kB"))
    return {row[0]: int(row[1]) * _KIB for row in rows}


def _stat_field(pid: int, index: int) -> int:
    # The name in parentheses may hold anything, so the fields are counted from the last ")".
    fields = read_bytes(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return int(fields[index]) if len(fields) > index else 0


def start_time(pid: int) -> int:
    """Return when the process started, in ticks since boot: with the pid, its identity. 0: unknown."""
    return _stat_field(pid, _START_TIME)


def parent(pid: int) -> int:
    return _stat_field(pid, _PPID)


def name_of(pid: int) -> str:
    """Return the program's name, at most 15 characters of it; `?`: unknown."""
    name = read_bytes(f"/proc/{pid}/comm").decode("utf-8", "replace").strip()
    return name or "?"


def all_pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()] if HAS_PROC else []  # noqa: PTH208 - as above


def children(pid: int) -> list[int]:
    try:
        tasks = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 - as above
    except OSError:
        return []
    found: list[int] = []
    for task in tasks:
        found += map(int, read_bytes(f"/proc/{pid}/task/{task}/children").split())
    if found or _KERNEL_LISTS_CHILDREN:
        return found
    return [child for child in all_pids() if parent(child) == pid]


def subtree(roots: Iterable[int]) -> list[int]:
    """Return the processes given and all their descendants, parents first."""
    found = list(roots)
    seen = set(found)
    for pid in found:  # grows while it is walked
        fresh = [child for child in children(pid) if child not in seen]
        seen.update(fresh)
        found += fresh
    return found


def variable_of(pid: int, name: str) -> str:
    """Return the value of an environment variable that the process was started with."""
    prefix = name.encode() + b"="
    for entry in read_bytes(f"/proc/{pid}/environ").split(b"\0"):
        if entry.startswith(prefix):
            return entry[len(prefix) :].decode("utf-8", "replace")
    return ""


def pid_namespace(pid: int | str = "self") -> str:
    """Return the system's name for what a process id is counted in; empty: unknown."""
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")  # noqa: PTH115 - as above
    except OSError:
        return ""


def is_ours(pid: int) -> bool:
    """Whether a process runs under our user and in our pid namespace; false: perhaps not."""
    try:
        is_same_user = os.stat(f"/proc/{pid}").st_uid == os.geteuid()  # noqa: PTH116 - as above
    except OSError:
        return False
    namespace = pid_namespace(pid)
    return is_same_user and namespace != "" and namespace == pid_namespace()


def peer_of(connection: socket.socket) -> tuple[int, int] | None:
    """Return process and user at the other end of a Unix socket; `None`: the system does not say."""
    option: int | None = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    raw = connection.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size)
    pid, user, _ = _CREDENTIALS.unpack(raw)
    return pid, user
