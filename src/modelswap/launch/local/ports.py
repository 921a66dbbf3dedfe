"""Which ports are free, and whose process holds one.

`${PORT}` is a promise that nobody else has the port. It is checked before a start, and again when the
probe passes: a stranger that happens to answer 200 is not our model.

A stranger is *known* to be one only when the system names the holder, it runs under our user, and it
is neither of the run nor part of a container engine (the port of `docker run -p` is held by a proxy
process, that of a container on the host network by a process of another pid namespace). Whoever cannot
be judged is accepted: better that than a model that never gets ready.
"""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modelswap.net.unix_sockets import holder_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

_LISTENING = "0A"
_LAST_PORT = 65535
_CONTAINER_ENGINES = frozenset(
    {"docker-proxy", "dockerd", "rootlesskit", "rootlessport", "slirp4netns", "pasta", "passt",
     "conmon", "containerd", "containerd-shim", "netavark", "podman", "nerdctl", "gvproxy"}
)  # fmt: skip


class NoFreePortError(Exception):
    """From the preferred port up to the last, all are taken."""


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that listens on a port, as far as the system says."""

    pid: int
    name: str


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now, on any address."""
    with ExitStack() as sockets:
        for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):  # noqa: S104 - bound for an instant, never listening
            try:
                one = sockets.enter_context(socket.socket(family, socket.SOCK_STREAM))
            except OSError:
                continue  # the machine does not have this family
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                one.bind((address, port))
            except OSError as error:
                if family == socket.AF_INET6 and not isinstance(error, PermissionError):
                    if is_listening(port):
                        return False
                    continue
                return False
    return True


def free_port(preferred: int, avoid: Collection[int] = ()) -> int:
    """Return the first free port from `preferred` upwards that is not in `avoid`."""
    for port in range(preferred, _LAST_PORT + 1):
        if port not in avoid and is_free(port):
            return port
    raise NoFreePortError(f"no free port from {preferred} upwards")


def is_listening(port: int) -> bool:
    """Whether somebody listens on the port, where the system says so; else `False`."""
    return any(True for _ in _listening_inodes(port))


def holds_port(pid: int, port: int) -> bool:
    """Whether this very process listens on the port."""
    sought = _sockets_listening_on(port)
    return bool(sought) and _holds(pid, sought)


def stranger_on(port: int, main: int, belongs: Callable[[int], bool]) -> Holder | None:
    """Return the listener that is known not to be of the run; `None` when one of ours listens."""
    found: Holder | None = None
    for holder in _holders(port, first=main):
        if belongs(holder.pid):
            return None
        if _can_be_judged(holder):
            found = holder
    return found


def stranger_behind(path: str, belongs: Callable[[int], bool]) -> Holder | None:
    """Return the process behind a Unix socket when it is known not to be of the run."""
    pid = holder_of(path)
    holder = Holder(pid, _name(pid))
    return None if pid == 0 or belongs(pid) or not _can_be_judged(holder) else holder


def belongs_to(pid: int, main: int, mark: str) -> bool:
    """Whether a process is of the run: its group, its environment's mark, or its ancestry."""
    with suppress(OSError):
        if pid == main or main in (os.getpgid(pid), os.getsid(pid)):
            return True
    if _has_mark(pid, mark):
        return True
    while pid > 1:
        pid = _parent(pid)
        if pid == main:
            return True
    return False


def start_time(pid: int) -> int:
    """When the process started, in ticks since boot; 0 when the system does not say."""
    fields = _stat(pid)
    return int(fields[19]) if fields else 0


def _parent(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[1]) if fields else 0


def _stat(pid: int) -> list[str]:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()


def _has_mark(pid: int, mark: str) -> bool:
    try:
        return mark.encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def _listening_inodes(port: int) -> Iterator[str]:
    wanted = f":{port:04X}"
    for table in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/net/{table}").read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTENING and fields[1].endswith(wanted):
                yield fields[9]


def _sockets_listening_on(port: int) -> set[str]:
    return {f"socket:[{inode}]" for inode in _listening_inodes(port)}


def _holders(port: int, first: int) -> Iterator[Holder]:
    sought = _sockets_listening_on(port)
    if not sought:
        return
    others = (int(name) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208 - names are all we need
    for pid in (first, *(pid for pid in others if pid != first)):
        if _holds(pid, sought):
            yield Holder(pid, _name(pid))


def _holds(pid: int, sought: set[str]) -> bool:
    folder = f"/proc/{pid}/fd"
    try:
        names = os.listdir(folder)  # noqa: PTH208 - as above
    except OSError:
        return False
    for name in names:
        with suppress(OSError):
            if os.readlink(f"{folder}/{name}") in sought:  # noqa: PTH115 - as above
                return True
    return False


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return "?"


def _can_be_judged(holder: Holder) -> bool:
    if holder.name in _CONTAINER_ENGINES:
        return False
    try:
        folder = Path(f"/proc/{holder.pid}")
        same_user = folder.stat().st_uid == os.geteuid()
        return same_user and os.readlink(folder / "ns/pid") == os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - not a path
    except OSError:
        return False
