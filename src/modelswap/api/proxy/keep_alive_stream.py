"""Sends keep-alives to a client whose model loads, or tells it how the load goes.

Keep-alives: nothing for a grace period, so that a failure in that time is still a proper status
code; then the headers of an event stream, and a meaningless event every few seconds.
Loading state, when `sendLoadingState` says so: the headers at once, and the progress as
`reasoning_content`, in chunks that a chat client accepts.

Guarantees: nothing is sent after `finish`, except after `resume`.
"""

from __future__ import annotations

import time
from dataclasses import field
from itertools import count
from typing import TYPE_CHECKING, Final

from modelswap.api.protocols.stream_dialect import chunk, keep_alive
from modelswap.deferred import dataclass
from modelswap.units import Seconds

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from modelswap.api.protocols.stream_dialect import StreamDialect
    from modelswap.http import Exchange, Field

STATE_EVERY: Final = Seconds(0.75)
"""Between two dots of the loading state: often enough for a person to see that it goes on."""
RULE: Final = "\u2501" * 5
"""The line above and below the loading state."""
HEAD: Final = (
    (b"Content-Type", b"text/event-stream"),
    (b"Cache-Control", b"no-cache"),
    (b"X-Accel-Buffering", b"no"),
)
MARGIN: Final = Seconds(1.0)
"""Before a client's own deadline: enough for the response to arrive."""
_SHARE: Final = 0.25
"""The part of a short timeout that is kept free instead."""
_ANNOUNCED: Final = (b"x-stainless-read-timeout", b"x-stainless-timeout", b"x-request-timeout")

_ids = count(1)
"""Tells the loading states of one program apart."""


@dataclass(slots=True, eq=False)
class KeepAliveStream:
    """The stream to one waiting client. Create it when the wait begins."""

    exchange: Exchange
    loop: asyncio.AbstractEventLoop
    stream_dialect: StreamDialect
    model: str
    grace: float
    """Seconds of silence before the first event."""
    interval: float
    """Seconds between events."""
    fields: Sequence[Field] = ()
    shows_state: bool = False
    progress: Callable[[], str] = str
    """Says how far a pull is; empty: none runs, or nothing new is known."""
    _timer: asyncio.TimerHandle | None = field(default=None, init=False)
    _progress: str = field(default="", init=False)
    _began: float = field(init=False)
    _id: str = field(default_factory=lambda: f"chatcmpl-loading-{next(_ids)}", init=False)
    _created: int = field(init=False)

    def __post_init__(self) -> None:
        self._began = self.loop.time()
        self._created = int(time.time())  # noqa: TID251 - the wire format has wall time in it
        if self.shows_state:
            self.interval = STATE_EVERY
            self._open()
            self._write_state(f"{RULE}\nmodelswap loading model: {self.model}\n")
        self._schedule(STATE_EVERY if self.shows_state else self.grace)

    def on_position(self, position: int) -> None:
        """Tell the place in the queue with the next event; 1 is the next."""
        self._progress = f"\nQueue position: #{position} "

    def resume(self) -> None:
        """Go on: the wait was not over."""
        if self._timer is None:
            self._schedule(self.interval)

    def finish(self, *, failed: bool = False) -> None:
        """End it, after telling how the load ended where the state is shown."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.shows_state:
            self.shows_state = False
            took = self.loop.time() - self._began
            end = f"\nFailed after {took:.2f}s" if failed else f"\nDone! ({took:.2f}s)"
            self._write_state(f"{end}\n{RULE}\n \n")

    def _schedule(self, delay: float) -> None:
        self._timer = self.loop.call_later(delay, self._send_next)

    def _send_next(self) -> None:
        self._timer = None
        if self.exchange.finished:
            return
        if self.shows_state:
            progress, self._progress = self._progress, ""
            self._write_state(progress or self.progress() or ".")
        else:
            if not self.exchange.started:
                self._open()
            if not self.exchange.paused:  # a client that does not read gets no pile of these
                dialect, created = self.stream_dialect, self._created
                self.exchange.write(keep_alive(dialect, model=self.model, created=created))
        self._schedule(self.interval)

    def _open(self) -> None:
        self.exchange.start(200, [*HEAD, *self.fields])

    def _write_state(self, text: str) -> None:
        choice = {"index": 0, "delta": {"reasoning_content": text}, "finish_reason": None}
        kind, created = "chat.completion.chunk", self._created
        self.exchange.write(chunk(kind, choice, model=self.model, created=created, ident=self._id))


def announced_timeout(header: Callable[[bytes], bytes | None]) -> float | None:
    """Return how many seconds the client said that it will wait for a response."""
    for name in _ANNOUNCED:
        value = header(name)
        if value is not None:
            try:
                seconds = float(value)
            except ValueError:
                continue
            if 0 < seconds < float("inf"):
                return seconds
    return None


def before(timeout: float) -> float:
    """Return how long a client that leaves after `timeout` seconds may wait for a response."""
    return timeout - min(MARGIN, timeout * _SHARE)
