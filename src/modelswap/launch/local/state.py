"""The state directory: where it is, that it is private, and the lock of the one front.

Guarantees: the directory is our user's, and private (mode 0700) unless it was asked for and holds other
things. Without `--state-dir` it is the first of the usual places that can be written, so that a restarted
front finds the same one again; one that was asked for is never replaced by another.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelswap.digest import sha256
from modelswap.launch.protocol import AlreadyRunningError, LaunchError
from modelswap.units import Seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCK_NAME = "front.lock"
LOCK_TRIES: Final = 3
"""A process that checks whether the lock is held has it for microseconds; two in a row are rare."""
LOCK_PAUSE: Final = Seconds(0.01)
"""Between two tries: far longer than such a check."""
LAST_RESORTS: Final = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"))  # noqa: S108 - ours alone below them
"""Folders that every user may write to, which are writable on a read-only system."""
_OWN_FILES: Final = ("front.", "keeper.", "needs.", "spool", "tmp", "lost+found")
"""How the names in a state directory begin, and what a file system of its own has."""
_BUSY: Final = frozenset({errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES})


def state_directory(wanted: Path | None, address: str) -> Path:
    """Return an existing, private, writable directory for the front that listens on `address`."""
    if wanted is not None:
        try:
            return _made(wanted.absolute())
        except OSError as error:
            raise LaunchError(f"--state-dir {wanted} cannot be used: {_text_of(error)}") from error
    name = _folder_name(address)
    failures: list[str] = []
    for base, is_shared in bases():
        try:
            if is_shared:
                _made_private(base)
            return _made(base / name)
        except OSError as error:
            failures.append(f"{base} ({_text_of(error)})")
        except LaunchError as error:
            failures.append(str(error))
    advice = "no folder for the state can be written: name one with --state-dir DIR"
    raise LaunchError(f"{advice}; tried {', '.join(failures)}")


def _text_of(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _folder_name(address: str) -> str:
    plain = "".join(c if c.isalnum() or c in ".-" else "_" for c in address)
    if plain == address and len(plain) < 64:  # noqa: PLR2004 - any bound will do
        return plain or "default"
    return f"{plain[:48]}-{sha256(address.encode()).hexdigest()[:12]}"


def bases() -> Iterator[tuple[Path, bool]]:
    """Yield the places to try, in order, each with whether others may write beside it."""
    ours: list[Path] = []
    if home := os.environ.get("XDG_STATE_HOME"):
        ours.append(Path(home))
    with contextlib.suppress(RuntimeError):  # no home at all
        ours.append(Path.home() / ".local" / "state")
    session = (os.environ.get("XDG_RUNTIME_DIR") or "/dev/null", f"/run/user/{os.getuid()}")
    ours += [Path(base) for base in session if Path(base).is_dir()]  # the system's to make
    found = dict.fromkeys(base / "modelswap" for base in ours if base.is_absolute())
    yield from ((base, False) for base in found)
    from tempfile import gettempdir  # noqa: PLC0415 - with what it imports, a millisecond of the start

    shared = [*LAST_RESORTS]
    with contextlib.suppress(OSError):  # none of the folders that Python knows can be written
        temporary = Path(gettempdir())
        # The working directory is Python's last resort; a restart may have another one.
        shared.insert(len(shared) if temporary == Path.cwd() else 0, temporary)
    rest = (base / f"modelswap-{os.getuid()}" for base in shared if base.is_absolute())
    yield from ((base, True) for base in dict.fromkeys(rest))


def _made_private(directory: Path) -> None:
    """Make a folder where every user may write, and be sure that no other user made it first."""
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    status = directory.lstat()  # a link that another user put there is that user's
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise LaunchError(f"{directory} (it belongs to another user, or is no folder)")
    directory.chmod(0o700)


def _made(directory: Path) -> Path:
    directory.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    directory.mkdir(exist_ok=True, mode=0o700)
    if directory.stat().st_uid != os.geteuid():
        raise LaunchError(f"state directory {directory} belongs to another user")
    _close_to_others(directory)
    probe = directory / f"tmp-{os.getpid()}-{os.urandom(4).hex()}"
    os.close(os.open(probe, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    probe.unlink()
    return directory


def _close_to_others(directory: Path) -> None:
    """Keep other users out, but leave the mode of a folder that holds more than our state."""
    mode = directory.stat().st_mode
    is_ours_alone = all(one.name.startswith(_OWN_FILES) for one in directory.iterdir())
    if is_ours_alone or (mode & stat.S_IWGRP and not mode & stat.S_IWOTH):
        directory.chmod(0o700)
    elif mode & stat.S_IWOTH:
        what = "is a folder that everybody writes to; name one of its own"
        raise LaunchError(f"state directory {directory} {what}")


def lock_front(directory: Path) -> int:
    """Become the one front of this directory; the lock is held as long as the descriptor is open."""
    fd = -1
    where = f"the state directory {directory}"
    try:
        fd = os.open(directory / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        _flock(fd)
    except OSError as error:
        if fd >= 0:
            os.close(fd)
            if error.errno in _BUSY:
                raise AlreadyRunningError(f"another modelswap is running on {where}") from error
        why = f"{_text_of(error)}; name another with --state-dir"
        raise LaunchError(f"{where} cannot be locked: {why}") from error
    return fd


def _flock(fd: int) -> None:
    """Take the lock; a process that checks whether it is held has it for an instant."""
    for _ in range(LOCK_TRIES):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(LOCK_PAUSE)
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
