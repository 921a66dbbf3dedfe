"""A timer for pauses below a millisecond: the timers of asyncio and of uvloop count whole ones.

On Linux a `timerfd` wakes the event loop: one system call for each pause, and no thread. Elsewhere, and
where the kernel refuses it, the loop's own timer is used, and a pause ends up to 2 ms late.

Does not: run more than one pause at a time.
"""

from __future__ import annotations

import os
import struct
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, Protocol

from modelswap.c_library import c_function

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Generator

_FLAGS: Final = os.O_NONBLOCK | os.O_CLOEXEC
"""`TFD_NONBLOCK` and `TFD_CLOEXEC` have the values of these."""
_SPEC: Final = struct.Struct("@llll")
"""`struct itimerspec`: seconds and nanoseconds of the interval, then of the first end."""
_COUNTER: Final = 8
"""Bytes that a timerfd is read in: how often it has ended."""
_SHORTEST: Final = 1
"""Nanoseconds; none at all would stop the timer."""


class Timer(Protocol):
    def start(self, delay: float, on_end: Callable[[], None]) -> None:
        """Call *on_end* once after so many seconds, in place of what was started before."""

    def stop(self) -> None: ...


@contextmanager
def open_timer(loop: asyncio.AbstractEventLoop) -> Generator[Timer]:
    """Yield the finest timer that there is; it is stopped at the end."""
    try:
        timer: LoopTimer | TimerFd = TimerFd(loop)
    except OSError:
        timer = LoopTimer(loop)
    try:
        yield timer
    finally:
        timer.close()


class LoopTimer:
    """The event loop's own."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._handle: asyncio.TimerHandle | None = None

    def start(self, delay: float, on_end: Callable[[], None]) -> None:
        self.stop()
        self._handle = self._loop.call_later(delay, on_end)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def close(self) -> None:
        self.stop()


class TimerFd:
    """A timer of the kernel as a descriptor; `OSError` when there is none."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        create, settime = c_function("timerfd_create"), c_function("timerfd_settime")
        if create is None or settime is None:
            raise OSError("this system has no timerfd")
        self._set = settime
        self._fd = create(time.CLOCK_MONOTONIC, _FLAGS)
        if self._fd < 0:
            raise OSError("the kernel gives no timerfd")
        self._loop = loop
        self._on_end: Callable[[], None] | None = None
        loop.add_reader(self._fd, self._on_readable)

    def fileno(self) -> int:
        return self._fd

    def start(self, delay: float, on_end: Callable[[], None]) -> None:
        seconds, nanoseconds = divmod(max(int(delay * 1e9), _SHORTEST), 10**9)
        self._on_end = on_end
        self._set(self._fd, 0, _SPEC.pack(0, 0, seconds, nanoseconds), None)

    def stop(self) -> None:
        self._on_end = None
        self._set(self._fd, 0, _SPEC.pack(0, 0, 0, 0), None)

    def close(self) -> None:
        self._on_end = None
        self._loop.remove_reader(self._fd)
        os.close(self._fd)

    def _on_readable(self) -> None:
        with suppress(BlockingIOError):  # it was set anew after it had ended
            os.read(self._fd, _COUNTER)
            on_end, self._on_end = self._on_end, None
            if on_end is not None:
                on_end()
