"""Reads models into the page cache in the background, so that their first load need not wait for the disk.

Guarantees: it reads at the lowest priority for disk and processor (Linux; elsewhere at the usual one),
never more than memory has to spare beside what programs hold and have mapped, and stops when that gets
short. A file that cannot be read is left out.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelswap.c_library import c_function
from modelswap.devices.capacity.ram import free_unmapped
from modelswap.units import Bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_MARGIN: Final = Bytes(1 << 30)
"""Left unused: what programs may ask for while a file is read."""
_PIECE: Final = Bytes(1 << 20)
"""Of one read: a disk is busy with it for a millisecond, and other reads get their turn."""
_CHECK_EVERY: Final = Bytes(64 << 20)
"""Read between two looks at the memory: a fraction of a second on fast disks."""
_IOPRIO_SET: Final = {"x86_64": 251, "aarch64": 30}
"""Numbers of the system call; glibc has no function for it."""
_WHO_THREAD: Final = 1
"""`IOPRIO_WHO_PROCESS`: with 0 as its id, the thread that calls."""
_IDLE: Final = 3 << 13
"""`IOPRIO_CLASS_IDLE`: the disk is used when nobody else does."""
_LOWEST: Final = 19
"""The niceness of a thread that runs when no other one wants to."""


def shares(sizes: Sequence[int], spare: int) -> list[Bytes]:
    """Return how many bytes to read of each file, in order, from its start: at most `spare` in all."""
    found: list[Bytes] = []
    for size in sizes:
        share = Bytes(max(0, min(size, spare)))
        found.append(share)
        spare -= share
    return found


def spare_memory(proc: Path = Path("/proc")) -> Bytes | None:
    """Return the bytes that files may fill without driving out what is in use; `None`: unknown."""
    free = free_unmapped(proc)
    return None if free is None else Bytes(free - _MARGIN)


class PageCacheWarmer:
    """Reads what it is told, one model after the other, on a thread that ends when nothing is left."""

    def __init__(self, spare: Callable[[], Bytes | None] = spare_memory) -> None:
        self._spare = spare
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Path, ...]] = deque()
        self._thread: threading.Thread | None = None

    def warm(self, files: Iterable[Path]) -> None:
        """Read these files after those that are waiting; return at once."""
        with self._lock:
            self._waiting.append(tuple(files))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="page cache", daemon=True)
                self._thread.start()

    def join(self) -> None:
        """Wait until everything was read, or memory got short."""
        thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        lower_priority()
        while True:
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return
                files = self._waiting.popleft()
            self._read_all(files)

    def _read_all(self, files: tuple[Path, ...]) -> None:
        spare = self._spare()
        if spare is None:
            return
        for path, share in zip(files, shares([_size(path) for path in files], spare), strict=True):
            if not self._read(path, share):
                return

    def _read(self, path: Path, count: int) -> bool:
        """Read the start of a file; false: there is no memory left for more."""
        try:
            fd = os.open(path, os.O_RDONLY)
        except OSError:
            return True
        buffer = memoryview(bytearray(min(_PIECE, max(count, 1))))
        try:
            done = next_look = 0
            while done < count:
                if done >= next_look:
                    next_look += _CHECK_EVERY
                    if not self._has_room():
                        return False
                got = os.readv(fd, [buffer[: count - done]])
                if not got:
                    return True
                done += got
        except OSError:
            return True
        finally:
            os.close(fd)
        return True

    def _has_room(self) -> bool:
        spare = self._spare()
        return spare is not None and spare > 0


def lower_priority() -> None:
    """Let the calling thread use disk and processor only when nothing else wants to, where that is possible."""
    if sys.platform != "linux":
        return
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST)
    number = _IOPRIO_SET.get(os.uname().machine)
    syscall = c_function("syscall")
    if number is not None and syscall is not None:
        syscall(number, _WHO_THREAD, 0, _IDLE)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
