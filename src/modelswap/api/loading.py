"""What a waiting client is told while its model loads.

Two voices, both only for clients that stream:

* **keep-alive**, always: nothing for the first `GRACE` seconds, so that a
  failure in that time is still a proper status code; then the headers of an
  event stream and one byte-cheap line every `PULSE` seconds.
* **loading state**, when `sendLoadingState` says so: the headers at once, and
  what happens as `reasoning_content`, in chunks that a chat client accepts.

The keep-alive of OpenAI streams is a comment with a *single* line feed: it
dispatches no event, so parsers that dispatch on every blank line (openai-go)
have nothing to stumble over. Anthropic streams have an event for it, `ping`.
`docs/decisions/0006-keep-alive-form.md` has the evidence.
"""

from __future__ import annotations

import json
import time
from enum import Enum
from itertools import count
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from modelswap.http import Exchange

GRACE: Final = 5.0
PULSE: Final = 5.0
STATE_EVERY: Final = 1.0
RULE: Final = "\u2501" * 5
HEAD: Final = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)

_ids = count(1)


class Voice(Enum):
    """The form of a stream: decides what may be said in it before the model speaks."""

    OPENAI = b": keep-alive\n"
    ANTHROPIC = b'event: ping\ndata: {"type": "ping"}\n\n'

    @classmethod
    def of(cls, path: str) -> Voice:
        return cls.ANTHROPIC if path.endswith("/messages") else cls.OPENAI


class Loading:
    """Talks to one waiting client until `finish`."""

    def __init__(
        self,
        exchange: Exchange,
        loop: asyncio.AbstractEventLoop,
        *,
        path: str,
        model: str,
        show_state: bool,
    ) -> None:
        self._exchange = exchange
        self._loop = loop
        self._voice = Voice.of(path)
        self._model = model
        self._news = ""
        self._begun = loop.time()
        self._speaks = show_state and path == "/v1/chat/completions"
        self._id = f"chatcmpl-loading-{next(_ids)}"
        self._created = int(time.time())  # noqa: TID251 - the wire format has wall time in it
        self._timer: asyncio.TimerHandle | None = None
        if self._speaks:
            self._open()
            self._say(f"{RULE}\nmodelswap loading model: {model}\n")
            self._again(STATE_EVERY)
        else:
            self._again(GRACE)

    def on_position(self, position: int) -> None:
        """Tell the place in the queue with the next pulse; 1 is the next."""
        self._news = f"\nQueue position: #{position} "

    def finish(self, *, failed: bool = False) -> None:
        """Stop talking: the model answers next, or an error does."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._speaks and self._exchange.started:
            took = self._loop.time() - self._begun
            end = f"\nFailed after {took:.2f}s" if failed else f"\nDone! ({took:.2f}s)"
            self._say(f"{end}\n{RULE}\n \n")

    def _again(self, delay: float) -> None:
        self._timer = self._loop.call_later(delay, self._pulse)

    def _pulse(self) -> None:
        if self._exchange.finished:
            return
        if self._speaks:
            news, self._news = self._news, ""
            self._say(news or ".")
            self._again(STATE_EVERY)
            return
        if not self._exchange.started:
            self._open()
        self._exchange.write(self._voice.value)
        self._again(PULSE)

    def _open(self) -> None:
        self._exchange.start(200, HEAD)

    def _say(self, text: str) -> None:
        chunk = {
            "id": self._id,
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": self._model,
            "choices": [{"index": 0, "delta": {"reasoning_content": text}, "finish_reason": None}],
        }
        self._exchange.write(b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n")


def announced_timeout(header: Callable[[bytes], bytes | None]) -> float | None:
    """Return how long the client said that it will wait for an answer, in seconds."""
    for name in (b"x-stainless-read-timeout", b"x-stainless-timeout", b"x-request-timeout"):
        value = header(name)
        if value is not None:
            try:
                seconds = float(value)
            except ValueError:
                continue
            if seconds > 0:
                return seconds
    return None
