"""Writes log lines to standard output in a thread.

Guarantees: a terminal or pipe that does not read delays no request. The queue is bounded; what does
not fit is counted, and a line says so once the reader reads again. Only a closed pipe ends the
writing: a full disk may have space again.
"""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from typing import Final

from modelswap.units import Bytes, Seconds

LIMIT: Final = Bytes(1 << 20)  # lines that wait for a slow reader: some seconds of a busy log
_GATHER: Final = Seconds(0.05)  # lines are gathered for so long before one write carries them all


class Stdout:
    """Takes whole lines and writes them in order, a moment later."""

    def __init__(self, fd: int = 1, limit: Bytes = LIMIT) -> None:
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
        self._reported = 0

    @property
    def dropped(self) -> int:
        """Bytes that did not fit into the queue, or that could not be written."""
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
                self._thread = threading.Thread(target=self._run, name="stdout", daemon=True)
                self._thread.start()

    def close(self, timeout: Seconds = Seconds(1.0)) -> None:
        """Write what is queued, for at most `timeout`."""
        self._closing.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        while True:
            self._wake.wait()
            closing = self._closing.wait(_GATHER)
            self._wake.clear()
            self._flush()
            if closing or self._broken:
                return

    def _flush(self) -> None:
        data = b"".join([self._queue.popleft() for _ in range(len(self._queue))])
        size = len(data)
        dropped = self.dropped
        if dropped > self._reported:
            data += f"\n— {dropped - self._reported} bytes dropped —\n".encode()
        try:
            self._write(data)
            self._reported = dropped
        except BrokenPipeError:  # the reader closed the pipe; requests go on
            self._broken = True
        except OSError:  # a full disk, for example: later lines may fit
            self._lost += size
        self._done += size

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._fd, view) :]
            except BlockingIOError:  # another program made the shared terminal non-blocking
                select.select([], [self._fd], [], 1.0)
