"""The state of one pull, between the thread that works and the readers of its progress.

Guarantees: all methods may be called from any thread; `cancel` ends a read that waits for the network.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from modelswap.units import Bytes

from .failures import PullCancelledError
from .progress import FileProgress, PullPhase, PullProgress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .failures import PullError
    from .timing import PullTiming

_RATE_OVER: Final = 5.0
"""Seconds that the rate is an average of: it follows a change, and does not flicker."""


class PullWatch:
    def __init__(
        self, source: str, timing: PullTiming, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._source = source
        self._timing = timing
        self._clock = clock
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._phase = PullPhase.RESOLVING
        self._files: dict[str, FileProgress] = {}
        self._text = ""
        self._error: PullError | None = None
        self._last_byte: float | None = None
        """When the last byte came, or the pull began to wait for one; `None`: it has no thread yet."""
        self._samples: deque[tuple[float, int]] = deque()
        self._received = 0
        self._sockets: list[socket.socket] = []

    def queue(self, text: str) -> None:
        """Say why nothing happens yet."""
        with self._lock:
            self._text = text

    def begin(self) -> None:
        with self._lock:
            self._text = ""
            self._last_byte = self._clock()

    def download(self, files: Iterable[FileProgress]) -> None:
        """Begin to download; the files that are here already count as done."""
        self.check()
        with self._lock:
            self._phase = PullPhase.DOWNLOADING
            self._files = {file.name: file for file in files}
            self._last_byte = self._clock()

    def received(self, name: str, done: int, count: int) -> None:
        """Note that a file has so many bytes now, of which `count` have just come."""
        with self._lock:
            self._files[name] = FileProgress(
                name=name, done=Bytes(done), total=self._files[name].total
            )
            self._received += count
            self._last_byte = self._clock()
            self._text = ""

    def size(self, name: str, total: int) -> None:
        with self._lock:
            done = self._files[name].done
            self._files[name] = FileProgress(name=name, done=done, total=Bytes(total))

    def wait(self, text: str, seconds: float) -> None:
        """Wait before the next try, and say why; raise `PullCancelledError` when told to stop."""
        with self._lock:
            self._text = text
        self._stop.wait(seconds)
        self.check()

    def check(self) -> None:
        if self._stop.is_set():
            raise PullCancelledError

    def cancel(self) -> None:
        with self._lock:
            if self._phase.is_over:
                return
            self._phase = PullPhase.CANCELLED
            self._text = "was stopped; what came is kept, and the next pull goes on from there"
            open_sockets, self._sockets = self._sockets, []
        self._stop.set()
        for one in open_sockets:
            _shut_down(one)

    def finish(self, text: str = "") -> None:
        self._end(PullPhase.FINISHED, text)

    def fail(self, error: PullError) -> None:
        self._end(PullPhase.FAILED, error.text, error)

    def _end(self, phase: PullPhase, text: str, error: PullError | None = None) -> None:
        with self._lock:
            self._sockets = []
            if not self._phase.is_over:
                self._phase, self._text, self._error = phase, text, error

    def trace(self, event: str, info: dict[str, Any]) -> None:
        """Note the sockets of new connections: `httpcore2` calls this as its `trace` extension."""
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            found: socket.socket | None = info["return_value"].get_extra_info("socket")
            if found is not None:
                with self._lock:
                    is_cancelled = self._phase is PullPhase.CANCELLED
                    self._sockets.append(found)
                if is_cancelled:
                    _shut_down(found)

    @property
    def is_over(self) -> bool:
        return self._phase.is_over

    def progress(self) -> PullProgress:
        now = self._clock()
        with self._lock:
            phase, text = self._phase, self._text
            files = tuple(self._files.values())
            silent = 0.0 if self._last_byte is None else now - self._last_byte
            rate, received = self._rate(now), self._received
            error = self._error
        if not phase.is_over and silent > self._timing.stalled:
            more = f" ({text})" if text else ""
            text = f"nothing has come for {int(silent)} s{more}; it goes on trying"
            phase = PullPhase.STALLED
        totals = [file.total for file in files]
        known = [total for total in totals if total is not None]
        return PullProgress(
            source=self._source,
            phase=phase,
            done=Bytes(sum(file.done for file in files)),
            total=Bytes(sum(known)) if files and len(known) == len(totals) else None,
            received=Bytes(received),
            rate=0.0 if phase.is_over else rate,
            files=files,
            failure=error.failure if error else None,
            text=text,
            retry_after=error.retry_after if error else None,
        )

    def _rate(self, now: float) -> float:
        """Return bytes per second, from one look to the next over the last seconds."""
        samples = self._samples
        samples.append((now, self._received))
        while len(samples) > 1 and samples[0][0] < now - _RATE_OVER:
            samples.popleft()
        (begin, before), (end, after) = samples[0], samples[-1]
        return (after - before) / (end - begin) if end > begin else 0.0


def _shut_down(connection: socket.socket) -> None:
    """End reads and writes of another thread; TLS would want to say goodbye first."""
    with contextlib.suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
