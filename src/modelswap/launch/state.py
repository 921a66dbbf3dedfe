"""The state directory: where it is, that it is ours alone, and the lock of the one front.

Without a writable home it is a private folder below the temporary directory, with a name that a
restarted front finds again. An explicit wish is never replaced by something else.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import stat
import tempfile
from pathlib import Path

from . import AlreadyRunningError, LaunchError

_LOCK_NAME = "front.lock"


def state_directory(wanted: Path | None, address: str) -> Path:
    """Return an existing, private, writable directory for the front that listens on `address`."""
    if wanted is not None:
        return _made(wanted.absolute())
    name = _folder_name(address)
    for base in _bases():
        with contextlib.suppress(LaunchError):
            return _made(base / name)
    return _made(Path(tempfile.mkdtemp(prefix="modelswap-")))


def _folder_name(address: str) -> str:
    plain = "".join(c if c.isalnum() or c in ".-" else "_" for c in address)
    if plain == address and len(plain) < 64:  # noqa: PLR2004 - any bound will do
        return plain or "default"
    return f"{plain[:48]}-{hashlib.sha256(address.encode()).hexdigest()[:12]}"


def _bases() -> list[Path]:
    bases: list[Path] = []
    if home := os.environ.get("XDG_STATE_HOME"):
        bases.append(Path(home) / "modelswap")
    with contextlib.suppress(RuntimeError):  # no home at all
        bases.append(Path.home() / ".local" / "state" / "modelswap")
    bases.append(Path(tempfile.gettempdir()) / f"modelswap-{os.getuid()}")
    return bases


def _made(directory: Path) -> Path:
    try:
        directory.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        directory.mkdir(exist_ok=True, mode=0o700)
        status = directory.lstat()
        if not stat.S_ISDIR(status.st_mode) and directory.is_symlink():
            status = directory.stat()
        if status.st_uid != os.geteuid():
            raise LaunchError(f"state directory {directory} belongs to another user")
        if directory.parent.name.startswith("modelswap-") and (
            directory.parent.lstat().st_uid != os.geteuid()
        ):
            raise LaunchError(f"{directory.parent} belongs to another user")
        directory.chmod(0o700)
        probe, name = tempfile.mkstemp(dir=directory)
        os.close(probe)
        Path(name).unlink()
    except OSError as error:
        raise LaunchError(f"state directory {directory}: {error.strerror}") from error
    return directory


def lock_front(directory: Path) -> int:
    """Become the one front of this directory; the lock lives as long as the returned descriptor."""
    fd = os.open(directory / _LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        raise AlreadyRunningError(
            f"another modelswap is running on the state directory {directory}"
        ) from error
    return fd
