"""The process's standard output, written by a thread of its own.

Law: nobody waits for a terminal or pipe that does not read. The queue is
bounded in bytes; what does not fit is counted, and said once the reader is
back. Only a reader that has gone for good ends it: a disk may have room again.
It refuses to format anything.
"""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from typing import Final

LIMIT: Final = 1 << 20
_GATHER: Final = 0.05
"""Seconds that lines are collected before one write carries them all."""


class Stdout:
    """Whole lines go in at once; they come out in order, a moment later."""

    def __init__(self, fd: int = 1, limit: int = LIMIT) -> None:
        self._fd = fd
        self._limit = limit
        self._queue: deque[bytes] = deque()
        self._put = 0
        self._done = 0
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._broken = False
        self._refused = 0
        self._lost = 0
        self._said = 0

    @property
    def dropped(self) -> int:
        """Bytes that did not fit into the queue, or that the file would not take."""
        return self._refused + self._lost

    def write(self, data: bytes) -> None:
        """Queue one or more whole lines. Never blocks."""
        if self._broken:
            return
        if self._put - self._done + len(data) > self._limit:
            self._refused += len(data)
            return
        self._put += len(data)
        self._queue.append(data)
        if not self._wake.is_set():
            self._wake.set()
            if self._thread is None:
                self._start()

    def close(self, timeout: float = 1.0) -> None:
        """Write what is queued, for at most `timeout` seconds."""
        self._closing.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout)

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="stdout", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            closing = self._closing.wait(_GATHER)
            self._wake.clear()
            self._flush()
            if closing or self._broken:
                return

    def _flush(self) -> None:
        queue = self._queue
        batch: list[bytes] = []
        while queue:
            batch.append(queue.popleft())
        data = b"".join(batch)
        dropped = self.dropped
        if dropped > self._said:
            data += f"\n— {dropped - self._said} bytes dropped —\n".encode()
        try:
            self._write(data)
            self._said = dropped
        except BrokenPipeError:  # a log nobody reads must not stop the work
            self._broken = True
        except OSError:  # a full disk, say: later lines may find room
            self._lost += sum(map(len, batch))
        self._done += sum(map(len, batch))

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._fd, view) :]
            except BlockingIOError:  # someone made the shared terminal non-blocking
                select.select([], [self._fd], [], 1.0)
