"""Starts the keeper process, on request or while the front still reads its configuration.

The keeper is started in a session of its own, so that a Ctrl-C in the terminal reaches the front only.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelswap.keeper import protocol
from modelswap.launch.local.state import lock_front, state_directory
from modelswap.launch.protocol import LaunchError
from modelswap.net.descriptors import restore_limit_of
from modelswap.units import Seconds

if TYPE_CHECKING:
    from collections.abc import Generator

_START_TIMEOUT: Final = Seconds(10.0)
"""It starts within a few hundredths of a second on an idle machine."""
_GRACE_AHEAD: Final = Seconds(10.0)
"""Until the front says what the configuration has: as long as it may take to start."""
_MAX_SOCKET_PATH: Final = 90
"""Bytes: a socket address holds 104 on macOS and 108 on Linux; this leaves some room."""


class StartingKeeper:
    """A keeper process that has yet to say that it is up. It is taken, or abandoned."""

    def __init__(self, pid: int, reader: int) -> None:
        self._pid = pid
        self._reader: int | None = reader

    def take(self) -> tuple[int, int]:
        """Return its pid and the descriptor on which it will say `ready`; both are the caller's."""
        assert self._reader is not None, "taken once"
        reader, self._reader = self._reader, None
        return self._pid, reader

    def abandon(self) -> None:
        """End it, unless it was taken: the front does not start."""
        if self._reader is not None:
            os.close(self.take()[1])
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(self._pid, signal.SIGTERM)
                os.waitpid(self._pid, 0)


def start_ahead(wanted: Path | None, address: str) -> StartingKeeper | None:
    """Start the keeper that a front will need; `None` where there is one, or something is wrong.

    What is wrong is said when the front itself comes to it.
    """
    try:
        directory = state_directory(wanted, address)
        os.close(lock_front(directory))  # another front has a keeper, or starts one
        connection = open_connection(directory)
        if connection is None:
            return start_keeper(directory, _GRACE_AHEAD)
        connection.close()
    except (LaunchError, OSError):
        return None
    return None


def start_keeper(directory: Path, grace: Seconds) -> StartingKeeper:
    script = str(Path(protocol.__file__).with_name("__main__.py"))
    argv = [sys.executable, "-I", "-S", script, str(directory), str(grace)]
    reader, writer = os.pipe()
    try:
        pid = _spawn_detached(argv, writer, directory / "keeper.log")
        restore_limit_of(pid)
    except OSError as error:
        os.close(reader)
        raise LaunchError(f"the keeper cannot be started: {error.strerror}") from error
    finally:
        os.close(writer)
    return StartingKeeper(pid, reader)


def _spawn_detached(argv: list[str], output: int, log: Path) -> int:
    actions: list[tuple[int, int, int] | tuple[int, int, str, int, int]] = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, output, 1),
        (os.POSIX_SPAWN_OPEN, 2, str(log), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
    ]
    try:
        return os.posix_spawn(argv[0], argv, os.environ, file_actions=actions, setsid=True)
    except NotImplementedError:  # an old C library: its own group must do
        return os.posix_spawn(argv[0], argv, os.environ, file_actions=actions, setpgroup=0)


def is_ready(reader: int) -> bool:
    return is_readable(reader, _START_TIMEOUT) and os.read(reader, 64) == protocol.READY_LINE


def is_readable(fd: int, within: Seconds) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(within * 1000))


def open_connection(directory: Path) -> socket.socket | None:
    with _short_path(directory / protocol.SOCKET_NAME) as path:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(path)
        except OSError:
            connection.close()
            return None
    connection.settimeout(0)
    return connection


@contextlib.contextmanager
def _short_path(path: Path) -> Generator[str]:
    """Yield a name of the socket that fits into a socket address."""
    if len(os.fsencode(path)) <= _MAX_SOCKET_PATH:
        yield str(path)
    elif sys.platform == "linux":
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield f"/proc/self/fd/{folder}/{path.name}"
        finally:
            os.close(folder)
    else:
        from tempfile import TemporaryDirectory  # noqa: PLC0415 - with what it imports, a millisecond of the start

        with TemporaryDirectory(dir="/tmp") as short:  # private, and short is the point
            link = Path(short) / "d"
            link.symlink_to(path.parent)
            yield str(link / path.name)
