"""How a relayed exchange ended."""

from __future__ import annotations

from enum import Enum

from modelswap.deferred import dataclass


class EndReason(Enum):
    DONE = "done"
    CLIENT_GONE = "client gone"
    CONNECT_FAILED = "connect failed"
    CONNECT_TIMEOUT = "connect timeout"
    NO_ANSWER = "closed before a byte of the response"
    HEADER_TIMEOUT = "no response in time"
    BAD_RESPONSE = "malformed response"
    TRUNCATED = "response broken off"
    STALLED = "response stood still"
    CANCELLED = "cancelled"
    UPSTREAM_LOST = "upstream closed by us"
    BODY_FAILED = "the body to send broke off"


_UNBEGUN = frozenset({EndReason.CONNECT_FAILED, EndReason.CONNECT_TIMEOUT, EndReason.UPSTREAM_LOST})
"""There was no connection, so nothing was sent: with `never_ran`."""


@dataclass(slots=True)  # not frozen: that doubles the cost of making one, and each request does
class RelayResult:
    reason: EndReason
    status: int | None
    """The upstream's, once its head was read."""
    bytes_sent: int
    """Of the response's body, written to the client."""
    detail: str
    """For the log; holds no header values and no body."""
    started: bool
    """The upstream's response had begun to go to the client; else the owner responds."""
    never_ran: bool
    """The upstream cannot have begun to work on the request."""
    was_reset: bool = False
    """The connection was reset before a byte of a response. When a process dies, its kernel does so
    exactly when it had not read all that was sent; a living one may do it for any reason."""

    def may_resend(self, *, is_whole: bool) -> bool:
        """Whether the request cannot have begun, or perhaps has not; a streamed body is used up."""
        if not is_whole and not (self.never_ran and self.reason in _UNBEGUN):
            return False
        return self.never_ran or self.was_reset
