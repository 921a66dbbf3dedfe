"""What a request to a model holds while it runs, and how it gives all of it back at its end.

Guarantees: a request ends exactly once, in `_finish`.
"""

from __future__ import annotations

from dataclasses import field
from enum import Enum
from time import monotonic
from typing import TYPE_CHECKING, Final

from modelswap.api.errors.error_mapping import relay_error
from modelswap.api.protocols.stream_dialect import error_event, late_error_event
from modelswap.api.responder import send_error
from modelswap.core.naming.names import PeerTarget
from modelswap.deferred import dataclass
from modelswap.http import EndReason
from modelswap.units import Seconds

from .context import UNRESOLVED

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from modelswap.api.services import Services
    from modelswap.errors import ReplyError
    from modelswap.fleet import ModelServer
    from modelswap.http import (
        BodySource,
        Exchange,
        Relay,
        RelayResult,
        UpstreamConnection,
        UpstreamPool,
        UpstreamRequest,
    )

    from .body_arrival import BodyArrival
    from .context import RequestContext, ResolvedRequest
    from .queue_wait import QueueWait
    from .record import RequestRecord


class RequestPhase(Enum):
    RECEIVING = "its body comes"
    QUEUED = "it waits for a lease"
    RELAYING = "it was sent to a model server, or a relay has it"
    RETRYING = "it is tried again soon"
    FINISHED = "it is over"


RETRIES: Final = 4
"""Four pauses are 0.75 s together: a server that is still listed then has not exited."""
RETRY_PAUSE: Final = Seconds(0.05)
"""Until the first retry; doubles. Enough for the news of the server's exit to arrive."""
CLIENT_CLOSED: Final = 499
"""The status in log and record of a request whose client left (nginx's convention)."""
ORDERLY: Final = frozenset({EndReason.DONE, EndReason.CLIENT_GONE, EndReason.CANCELLED})
STALLS: Final = frozenset({EndReason.HEADER_TIMEOUT, EndReason.STALLED})
REASONS: Final = {reason: reason.name.lower() for reason in EndReason}
"""How a record spells them."""
QUEUED: Final = RequestPhase.QUEUED  # looking a member up costs as much as a call
RELAYING: Final = RequestPhase.RELAYING
FINISHED: Final = RequestPhase.FINISHED
DONE: Final = REASONS[EndReason.DONE]


@dataclass(slots=True, eq=False)
class Retries:
    """The pauses of one request before it is tried again."""

    loop: asyncio.AbstractEventLoop
    again: Callable[[RelayResult], None]
    """Gets the result of the last try."""
    _made: int = field(default=0, init=False)
    _timer: asyncio.TimerHandle | None = field(default=None, init=False)

    @property
    def is_used_up(self) -> bool:
        return self._made >= RETRIES

    def later(self, result: RelayResult) -> None:
        delay = RETRY_PAUSE * 2**self._made
        self._made += 1
        self._timer = self.loop.call_later(delay, self.again, result)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


@dataclass(slots=True, eq=False)
class RequestState:
    """One request's state; `ProxyRequest` moves it on."""

    services: Services
    exchange: Exchange
    context: RequestContext
    _began: float = field(default_factory=monotonic, init=False)
    _phase: RequestPhase = field(default=RequestPhase.RECEIVING, init=False)
    _body: bytes | BodySource = field(default=b"", init=False)
    _resolved: ResolvedRequest = field(default=UNRESOLVED, init=False)
    _record: RequestRecord | None = field(default=None, init=False)
    _server: ModelServer | None = field(default=None, init=False)
    """The last one that had the request."""
    _holds_lease: bool = field(default=False, init=False)
    _pool: UpstreamPool = field(init=False)
    """Where it was sent last, as `_request`."""
    _request: UpstreamRequest = field(init=False)
    _connection: UpstreamConnection | None = field(default=None, init=False)
    """Which has it, as long as it needs no relay."""
    _relay: Relay | None = field(default=None, init=False)
    _arrival: BodyArrival | None = field(default=None, init=False)
    _wait: QueueWait | None = field(default=None, init=False)
    _retries: Retries | None = field(default=None, init=False)

    def _release(self) -> None:
        server = self._server
        if self._holds_lease and server is not None:
            self._holds_lease = False
            self.services.fleet.release(server.model.id, self._resolved.ttl)

    # What the client reads of a failure

    def on_late_error(self, status: int, content_type: bytes, body: bytes) -> bytes:
        """Put a response that is no stream into the one that was already open for the keep-alives."""
        return late_error_event(self.context.endpoint.dialect, status, content_type, body)

    def error_event(self, result: RelayResult) -> bytes:
        return self._event(self._error_of(result))

    def _error_of(self, result: RelayResult) -> ReplyError:
        if result.reason is EndReason.BODY_FAILED and self._arrival is not None:
            return self._arrival.form_error() or self._broken(result)
        return self._broken(result)

    def _broken(self, result: RelayResult) -> ReplyError:
        return relay_error(result, by_peer=isinstance(self._resolved.target, PeerTarget))

    def _event(self, error: ReplyError) -> bytes:
        dialect, retry = self.context.endpoint.dialect, error.should_retry
        return error_event(
            dialect, error.status, error.text, error.code, should_retry=retry, log=error.log
        )

    def _answer(self, error: ReplyError, result: RelayResult | None) -> None:
        """End with an error, in whatever form the client can still read."""
        if self._wait is not None:
            self._wait.close(failed=True)
        exchange = self.exchange
        sent = 0
        if not exchange.started:
            sent = send_error(exchange, error, self.context.snapshot.site_rules)
        elif not exchange.finished:
            exchange.end(self._event(error))
        if error.detail:
            self.services.log.warning(f"{error.text}: {error.detail}")
        if self._record is not None:
            self._record.on_own_error(error.status)
        status = None
        if result is None:
            reason = "cancelled" if error.status == CLIENT_CLOSED else "refused"
        else:
            reason = REASONS[result.reason]
            sent += result.bytes_sent
            status = CLIENT_CLOSED if result.reason is EndReason.CANCELLED else None
        self._finish(reason, monotonic(), sent, status, error=error.text)

    def _finish(
        self, reason: str, now: float, sent: int, status: int | None = None, error: str = ""
    ) -> None:
        """End the request: give back what it holds, and write down how it ended.

        `sent` bytes of body went to the client. `status` is for record and log, where it is not
        what was sent.
        """
        if self._phase is FINISHED:
            return
        self._phase = FINISHED
        self._relay = None
        if self._wait is not None:
            self._wait.close()
        if self._retries is not None:
            self._retries.close()
        if self._arrival is not None:
            self._arrival.close()
        selection = self._resolved.selection
        if selection is not None:
            self.context.snapshot.selectors.decrement(*selection)
        services = self.services
        server = self._server
        if self._holds_lease and server is not None:
            self._holds_lease = False
            services.fleet.release(server.model.id, self._resolved.ttl)
        record = self._record
        if record is not None:
            record.answered, record.shown_status = sent, status or self.exchange.status
            record.end(reason, now, status, error)
        elif services.shows_requests:
            before, after = self.context.before, self.context.after
            shown = status or self.exchange.status
            services.logs.request_line(before, shown, sent, after, now - self._began)
