"""Which fronts run on this machine, and the status that each writes into its state directory.

Guarantees: a front is found only while it holds its lock; a status that cannot be written harms nothing else.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from modelswap import procfs
from modelswap.deferred import dataclass

from .state import LOCK_NAME, bases

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_FILE: Final = "front.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningFront:
    """A running front, and how the last thing that was asked of it went."""

    directory: Path
    pid: int
    namespace: str
    """Of the pid: a container has its own."""
    listen: str
    config: str
    """The configuration's files, as it was started with them."""
    number: int
    """Grows with everything that it was asked for."""
    kind: str
    """`start`, `reload` or `handover`."""
    ok: bool
    lines: tuple[str, ...]


class StatusFile:
    def __init__(self, directory: Path, *, listen: str, config: str) -> None:
        self._directory = directory
        self._facts = {"pid": os.getpid(), "namespace": procfs.pid_namespace()}
        self._facts |= {"listen": listen, "config": config}

    def write(self, kind: str, *, ok: bool, lines: Sequence[str] = ()) -> None:
        """Write how something went; the number follows the one in the file."""
        with suppress(OSError):
            number = int(_read(self._directory).get("number", 0)) + 1
            facts = {**self._facts, "number": number, "kind": kind, "ok": ok, "lines": [*lines]}
            new = self._directory / f"{_FILE}.new"
            with open(new, "w", encoding="utf-8", opener=_private) as file:
                json.dump(facts, file)
            new.replace(self._directory / _FILE)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def front_in(directory: Path) -> RunningFront | None:
    return last_status(directory) if _is_locked(directory) else None


def last_status(directory: Path) -> RunningFront | None:
    """Return the status of the last front there, whether it runs or not."""
    found = _read(directory)
    try:
        return RunningFront(
            directory=directory,
            pid=int(found["pid"]),
            namespace=str(found.get("namespace", "")),
            listen=str(found["listen"]),
            config=str(found["config"]),
            number=int(found["number"]),
            kind=str(found["kind"]),
            ok=bool(found["ok"]),
            lines=tuple(map(str, found["lines"])),
        )
    except (KeyError, TypeError, ValueError):
        return None


def fronts() -> Iterator[RunningFront]:
    """Yield every front of this user that was started without `--state-dir`."""
    for base, _ in bases():
        with suppress(OSError):
            for directory in sorted(base.iterdir()):
                if directory.is_dir() and (front := front_in(directory)) is not None:
                    yield front


def _is_locked(directory: Path) -> bool:
    try:
        fd = os.open(directory / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.EWOULDBLOCK, errno.EAGAIN)
    finally:
        os.close(fd)
    return False


def _read(directory: Path) -> dict[str, Any]:
    try:
        found: object = json.loads((directory / _FILE).read_bytes())
    except (OSError, ValueError):
        return {}
    return {str(key): value for key, value in found.items()} if isinstance(found, dict) else {}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - JSON
