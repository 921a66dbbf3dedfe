"""Runs what blocks, one job after another, on a thread that lives only while there are jobs.

Guarantees: results come back on the event loop, in order. A driver that hangs for ever holds up only the
jobs behind it: the thread does not delay the end of the program.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

Result = TypeVar("Result")


class Worker:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._jobs: deque[Callable[[], None]] = deque()
        self._is_running = False

    def run(
        self,
        job: Callable[[], Result],
        done: Callable[[Result], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """Run *job* on the thread, then call *done* or *failed* on the loop."""
        with self._lock:
            self._jobs.append(partial(self._one, job, done, failed))
            if self._is_running:
                return
            self._is_running = True
        thread = threading.Thread(target=self._work, name="memory", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # no thread to be had
            with self._lock:
                self._jobs.clear()
                self._is_running = False
            self._loop.call_soon(failed, error)

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._jobs:
                    self._is_running = False
                    return
                job = self._jobs.popleft()
            job()

    def _one(
        self,
        job: Callable[[], Result],
        done: Callable[[Result], None],
        failed: Callable[[Exception], None],
    ) -> None:
        try:
            result = job()
        except Exception as error:  # noqa: BLE001 - drivers raise anything; it is told
            self._tell(partial(failed, error))
        else:
            self._tell(partial(done, result))

    def _tell(self, call: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop has closed
            self._loop.call_soon_threadsafe(call)
