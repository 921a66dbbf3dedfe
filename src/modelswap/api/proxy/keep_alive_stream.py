"""What a waiting client is told while its model loads.

Two ways, both only for clients that stream in a known dialect (`voice`):

* **keep-alive**, always: nothing for a grace, so that a failure in that time is
  still a proper status code; then the headers of an event stream, and from then
  on something without meaning every few seconds.
* **loading state**, when `sendLoadingState` says so: the headers at once, and
  what happens as `reasoning_content`, in chunks that a chat client accepts.

Law: nothing is said after `pause`, except by `resume`. It refuses to know why
the client waits, and to end the stream.
"""

from __future__ import annotations

import time
from itertools import count
from typing import TYPE_CHECKING, Final

from modelswap.api.protocols.stream_dialect import chunk, keep_alive

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from modelswap.api.protocols.stream_dialect import StreamDialect
    from modelswap.http import Exchange, Field

STATE_EVERY: Final = 0.75
RULE: Final = "\u2501" * 5
HEAD: Final = (
    (b"Content-Type", b"text/event-stream"),
    (b"Cache-Control", b"no-cache"),
    (b"X-Accel-Buffering", b"no"),
)
MARGIN: Final = 1.0
"""Seconds before a client's own deadline at which it hears from us, at the least."""
_SHARE: Final = 0.25
"""Of a patience that is short."""
_ANNOUNCED: Final = (
    b"x-stainless-read-timeout",
    b"x-stainless-timeout",
    b"x-request-timeout",
)

_ids = count(1)


class KeepAliveStream:
    """Talks to one waiting client. Create it when the wait begins."""

    def __init__(
        self,
        exchange: Exchange,
        loop: asyncio.AbstractEventLoop,
        *,
        stream_dialect: StreamDialect,
        model: str,
        grace: float,
        pulse: float,
        fields: Sequence[Field] = (),
        shows_state: bool = False,
    ) -> None:
        """`fields` go out beside the stream's own headers."""
        self._exchange = exchange
        self._loop = loop
        self._stream_dialect = stream_dialect
        self._model = model
        self._pulse_every = STATE_EVERY if shows_state else pulse
        self._fields = fields
        self._news = ""
        self._begun = loop.time()
        self._speaks = shows_state
        self._id = f"chatcmpl-loading-{next(_ids)}"
        self._created = int(time.time())  # noqa: TID251 - the wire format has wall time in it
        self._timer: asyncio.TimerHandle | None = None
        if shows_state:
            self._open()
            self._say(f"{RULE}\nmodelswap loading model: {model}\n")
            self._again(STATE_EVERY)
        else:
            self._again(grace)

    def on_position(self, position: int) -> None:
        """Tell the place in the queue with the next pulse; 1 is the next."""
        self._news = f"\nQueue position: #{position} "

    def pause(self) -> None:
        """Be silent: the model has its turn, or the wait is over."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def resume(self) -> None:
        """Go on: the wait was not over after all."""
        if self._timer is None:
            self._again(self._pulse_every)

    def finish(self, *, failed: bool = False) -> None:
        """Be silent from now on, after saying how it ended where the state is shown."""
        self.pause()
        if self._speaks:
            self._speaks = False
            took = self._loop.time() - self._begun
            end = f"\nFailed after {took:.2f}s" if failed else f"\nDone! ({took:.2f}s)"
            self._say(f"{end}\n{RULE}\n \n")

    def _again(self, delay: float) -> None:
        self._timer = self._loop.call_later(delay, self._pulse)

    def _pulse(self) -> None:
        self._timer = None
        if self._exchange.finished:
            return
        if self._speaks:
            news, self._news = self._news, ""
            self._say(news or ".")
        else:
            if not self._exchange.started:
                self._open()
            if not self._exchange.paused:  # a client that does not read gets no pile of these
                self._exchange.write(
                    keep_alive(self._stream_dialect, model=self._model, created=self._created)
                )
        self._again(self._pulse_every)

    def _open(self) -> None:
        self._exchange.start(200, [*HEAD, *self._fields])

    def _say(self, text: str) -> None:
        choice = {"index": 0, "delta": {"reasoning_content": text}, "finish_reason": None}
        self._exchange.write(
            chunk(
                "chat.completion.chunk",
                choice,
                model=self._model,
                created=self._created,
                ident=self._id,
            )
        )


def announced_timeout(header: Callable[[bytes], bytes | None]) -> float | None:
    """Return how long the client said that it will wait for an answer, in seconds."""
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


def before(patience: float) -> float:
    """Return how long to wait with a client that leaves after `patience` seconds."""
    return patience - min(MARGIN, patience * _SHARE)
