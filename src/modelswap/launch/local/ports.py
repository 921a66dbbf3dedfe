"""Which ports are free, which process holds one, and which port a server is given.

`${PORT}` promises that no other process has the port: it is checked before a start, and again when the
probe passes, because a foreign process may happen to answer 200.

A process is *known* to be foreign only when the system names the holder, it runs under our user, and it
is neither of the server nor part of a container engine, which holds a container's port for it. One that
cannot be judged is accepted: better that than a model that never gets ready.
"""

from __future__ import annotations

import errno
import os
import socket
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Final

from modelswap import procfs
from modelswap.deferred import dataclass
from modelswap.net import listeners
from modelswap.net.unix_sockets import holder_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from modelswap.core.spec import ServerId
    from modelswap.launch.protocol import LaunchSpec

_LAST_PORT: Final = 65535
"""TCP has 16 bits for it."""
_TAKEN: Final = frozenset({errno.EADDRINUSE, errno.EACCES, errno.EPERM})
_CONTAINER_ENGINES: Final = frozenset(
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
                if family == socket.AF_INET or error.errno in _TAKEN:
                    return False  # else no socket here may have an address of this family
    return True


def free_port(preferred: int, avoid: Collection[int] = ()) -> int:
    """Return the first free port from `preferred` upwards that is not in `avoid`."""
    for port in range(preferred, _LAST_PORT + 1):
        if port not in avoid and is_free(port):
            return port
    raise NoFreePortError(f"no free port from {preferred} upwards")


def is_listening(port: int) -> bool:
    """Whether a process listens on the port, where the system says so; else `False`. Not for the loop."""
    return any(listeners.inodes_on(port))


def foreign_process_on(port: int, main: int, belongs: Callable[[int], bool]) -> Holder | None:
    """Return the listener that is known to be foreign; `None` when one of the server's listens.

    Not for the loop: where the server's processes do not hold the port, all of the machine are looked at.
    """
    found: Holder | None = None
    for inodes in listeners.inodes_on(port):
        for holder in _holders(inodes, main):
            if belongs(holder.pid):
                return None
            if _can_be_judged(holder):
                found = holder
    return found


def foreign_process_behind(path: str, belongs: Callable[[int], bool]) -> Holder | None:
    """Return the process behind a Unix socket when it is known to be foreign."""
    pid = holder_of(path)
    holder = Holder(pid, procfs.name_of(pid))
    return None if pid == 0 or belongs(pid) or not _can_be_judged(holder) else holder


def belongs_to(pid: int, main: int, marker: str) -> bool:
    """Whether a process is of a server: by its group, its environment's marker, or its ancestry."""
    with suppress(OSError):
        if pid == main or main in (os.getpgid(pid), os.getsid(pid)):
            return True
    name, _, value = marker.partition("=")
    if procfs.variable_of(pid, name) == value:
        return True
    while pid > 1 and pid != main:
        pid = procfs.parent(pid)
    return pid == main


def _holders(inodes: Iterable[int], main: int) -> Iterator[Holder]:
    sought = {f"socket:[{inode}]" for inode in inodes}
    for pid in _pids_from(main):
        if _holds(pid, sought):
            yield Holder(pid, procfs.name_of(pid))


def _pids_from(main: int) -> Iterator[int]:
    """Yield the server's main process, what descends from it, and then all others."""
    yield main
    first = procfs.subtree([main])
    yield from first[1:]
    seen = set(first)
    yield from (pid for pid in procfs.all_pids() if pid not in seen)


def _holds(pid: int, sought: set[str]) -> bool:
    folder = f"/proc/{pid}/fd"
    with suppress(OSError):
        for name in os.listdir(folder):  # noqa: PTH208 - pathlib is slow for all processes
            with suppress(OSError):
                if os.readlink(f"{folder}/{name}") in sought:  # noqa: PTH115 - as above
                    return True
    return False


def _can_be_judged(holder: Holder) -> bool:
    return holder.name not in _CONTAINER_ENGINES and procfs.is_ours(holder.pid)


class PortAssignment:
    """Gives each server its usual port, or another, kept as long as possible, when that is taken."""

    def __init__(self) -> None:
        self._moved: dict[ServerId, tuple[int, int]] = {}
        """Usual port and where to begin looking, of servers that could not have the usual one."""

    def assign(self, spec: LaunchSpec, used: Iterable[int]) -> LaunchSpec:
        """Return the specification at a port that is free now, not among *used* and not reserved."""
        usual = spec.port
        if usual is None or spec.render is None:
            return spec
        known, first = self._moved.get(spec.server, (usual, usual))
        port = free_port(first if known == usual else usual, {*used, *spec.reserved_ports})
        self.keep(spec, port)
        return spec.at_port(port)

    def keep(self, spec: LaunchSpec, port: int) -> None:
        if spec.port is None or port == spec.port:
            self._moved.pop(spec.server, None)
        else:
            self._moved[spec.server] = spec.port, port

    def avoid(self, server: ServerId, usual: int, port: int) -> None:
        """Note that a foreign process holds *port*: the next start looks beyond it."""
        self._moved[server] = usual, port + 1
