"""Unix sockets in the file system: whether a server listens on one, and listening on one.

Guarantees: only a socket without a listener is removed; other files and sockets stay. Listening and
removing hold a lock on the folder, so two programs that start at once cannot get the same path.
Does not: read HTTP, or wait for a server.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from modelswap.procfs import peer_of

if TYPE_CHECKING:
    from collections.abc import Generator

_BACKLOG = 1024  # connections before accept; the kernel lowers it to its own limit
_NO_OTHERS = 0o117  # umask: the owner and the group may connect, which takes the right to write


class SocketState(Enum):
    NOTHING = "nothing"
    UNUSED = "a socket that no server listens on"
    IN_USE = "another server listens there"
    FOREIGN = "a file that is not a socket is there"


def name_of(path: str) -> str:
    """Return the name for the system: `@name` is a name in Linux' abstract namespace."""
    return "\0" + path[1:] if path.startswith("@") else path


def state_of(path: str) -> SocketState:
    """Find out what exists at the path; raise OSError when the system refuses."""
    if not path.startswith("@"):
        try:
            mode = Path(path).lstat().st_mode
        except FileNotFoundError:
            return SocketState.NOTHING
        if not stat.S_ISSOCK(mode):
            return SocketState.FOREIGN
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0)
        try:
            probe.connect(name_of(path))
        except ConnectionRefusedError:
            return SocketState.NOTHING if path.startswith("@") else SocketState.UNUSED
        except FileNotFoundError:
            return SocketState.NOTHING
        except BlockingIOError:  # its queue is full
            return SocketState.IN_USE
        except OSError as error:
            if error.errno == errno.EPROTOTYPE:  # of another kind: datagrams
                return SocketState.IN_USE
            raise
    return SocketState.IN_USE


def holder_of(path: str) -> int:
    """Return the process that listens there; 0: none does, or the system does not say."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, contextlib.suppress(OSError):
        probe.settimeout(0)
        probe.connect(name_of(path))
        return (peer_of(probe) or (0, 0))[0]
    return 0


def remove_unused(path: str) -> None:
    """Remove a socket without a listener: most servers cannot bind over it."""
    if path.startswith("@"):
        return
    with contextlib.suppress(OSError), _locked(path):
        if state_of(path) is SocketState.UNUSED:
            Path(path).unlink()


class SocketFile:
    """The file of a Unix socket that this process listens on."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._inode: tuple[int, int] | None = None
        """Of this file: another server may have the path by the time it is removed."""
        if not path.startswith("@"):
            status = Path(path).lstat()
            self._inode = (status.st_dev, status.st_ino)

    def remove(self) -> None:
        """Remove the file, unless another one has replaced it."""
        inode, self._inode = self._inode, None
        if inode is None:
            return
        with contextlib.suppress(OSError), _locked(self._path):
            status = Path(self._path).lstat()
            if (status.st_dev, status.st_ino) == inode:
                Path(self._path).unlink()


def listen(path: str) -> socket.socket:
    """Listen at the path; raise OSError when that is not possible."""
    with _locked(path):
        found = state_of(path)
        if found is SocketState.UNUSED:
            Path(path).unlink()
        elif found is not SocketState.NOTHING:
            raise OSError(errno.EADDRINUSE, found.value)
        one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(_NO_OTHERS)
        try:
            one.bind(name_of(path))
            # at once: a socket that is bound and does not listen looks unused
            one.listen(_BACKLOG)
        except OSError:
            one.close()
            raise
        finally:
            os.umask(before)
        one.settimeout(0)
        return one


@contextlib.contextmanager
def _locked(path: str) -> Generator[None]:
    """Lock the folder of the path: no lock file stays."""
    if path.startswith("@"):
        yield
        return
    folder = os.open(Path(path).parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
