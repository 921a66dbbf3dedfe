"""How a relayed exchange ended, and who is told.

Law: `on_end` is called exactly once for every relay, whatever happens. It
refuses to decide what the client is told: `api` does, unless the answer had begun.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from modelswap.http.message.fields import written

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from modelswap.http.message.fields import Field
    from modelswap.http.message.head import ResponseHead


class EndReason(Enum):
    DONE = "done"
    CLIENT_GONE = "client gone"
    CONNECT_FAILED = "connect failed"
    CONNECT_TIMEOUT = "connect timeout"
    NO_ANSWER = "closed before a byte of the answer"
    HEADER_TIMEOUT = "no answer in time"
    BAD_RESPONSE = "malformed answer"
    TRUNCATED = "answer broken off"
    STALLED = "answer stood still"
    CANCELLED = "cancelled"
    UPSTREAM_LOST = "upstream closed by us"
    BODY_FAILED = "the body to send broke off"


@dataclass(
    slots=True
)  # not frozen: freezing doubles the cost of making one, and each request makes one
class RelayResult:
    ending: EndReason
    status: int | None
    """The upstream's, once its head was read."""
    bytes_sent: int
    """Of the answer's body, written to the client."""
    detail: str
    """For the log; holds no header values and no body."""
    started: bool
    """The upstream's answer had begun to go to the client; else the caller answers."""
    never_ran: bool
    """The upstream cannot have begun to work on the request."""
    was_reset: bool = False
    """The connection was reset before a byte of an answer. When a process dies, its kernel does so
    exactly when it had not read all that was sent; a living one may do it for any reason."""


class RelayObserver(Protocol):
    """Hears of an exchange as it goes; every method must be cheap and must not raise."""

    def on_head(self, head: ResponseHead) -> None: ...

    def on_data(self, data: bytes) -> None:
        """Hear of a piece of the body, framing removed, after it was written to the client."""

    def on_whole(self, head: ResponseHead, data: bytes) -> None:
        """Hear of an answer that came in one piece and is complete with it.

        Instead of `on_head`, `on_data` and `on_end`: the exchange is done.
        """

    def on_end(self, outcome: RelayResult) -> None: ...

    def error_event(self, outcome: RelayResult) -> bytes | None:
        """Give the last bytes of an event stream that breaks."""

    def on_late_error(self, status: int, content_type: bytes, body: bytes) -> bytes:
        """Give the last event of a stream that began before the upstream answered like this."""
        ...


class UpstreamSink(Protocol):
    """Takes a body that is being sent; can be told that the rest will not come."""

    def on_data(self, data: bytes) -> None: ...
    def on_end(self) -> None: ...
    def on_fail(self, detail: str) -> None: ...


class BodySource(Protocol):
    """A body that is sent as it comes; starts at most once."""

    @property
    def length(self) -> int | None: ...

    def start(self, sink: UpstreamSink) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...

    def stop(self) -> None:
        """Give no more: the upstream is gone or does not want the rest."""


class UpstreamRequest:
    """A request as the upstream gets it, without body and framing; may be sent many times."""

    __slots__ = ("answer", "block", "guard", "leads", "method", "upgrade")

    def __init__(
        self,
        method: str,
        target: bytes,
        headers: Sequence[Field],
        upgrade: bytes | None = None,
        answer: Sequence[Field] = (),
        *,
        guard: Sequence[Field] = (),
        leads: Callable[[bytes], bool] | None = None,
    ) -> None:
        """`target` is path and query: `Address.join`. `upgrade` is the value of the client's `Upgrade`.

        `answer` are fields that the answer gets on its way to the client; `Access-Control-*` of the
        upstream give way to them. `guard` are fields that an answer gets when a browser could run it
        as a page; fields of the upstream that concern the whole origin give way to them.
        `leads` tells whether the `Location` of a redirect may stay; without it, all may.
        ValueError for a header that would break out of its line.
        """
        self.method = method
        self.upgrade = upgrade
        self.block = b"%b %b HTTP/1.1\r\n%b" % (method.encode("ascii"), target, written(headers))
        """Request line and headers, each with its CRLF."""
        self.answer = written(answer)
        self.guard = written(guard)
        self.leads = leads
