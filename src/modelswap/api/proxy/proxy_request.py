"""One request to a model: the state machine from its body to its last byte.

Plain callbacks, no task: for a model that is ready, the whole way from the parsed request to the
bytes on the upstream's socket is one call.

Guarantees: a request ends exactly once, in `_finish`, which gives back everything that it holds.
"""

from __future__ import annotations

from dataclasses import field
from enum import Enum
from time import monotonic
from typing import TYPE_CHECKING, Final

from modelswap.api.errors.error_mapping import cancelled_error, relay_error
from modelswap.api.protocols.stream_dialect import error_event, late_error_event
from modelswap.api.proxy.context import UNRESOLVED, ResolvedRequest
from modelswap.api.responder import send_error
from modelswap.core.naming.names import LocalTarget, PeerTarget
from modelswap.deferred import dataclass
from modelswap.errors import ReplyError
from modelswap.http import EndReason, Relay
from modelswap.units import Seconds

from .body_arrival import BodyArrival
from .queue_wait import QueueWait
from .readiness import check_loaded
from .record import RequestRecord
from .resolve import resolve, resolve_form, resolve_stream

if TYPE_CHECKING:
    import asyncio

    from modelswap.api.services import Services
    from modelswap.fleet import ModelServer
    from modelswap.http import BodySource, Exchange, RelayResult, ResponseHead, UpstreamPool

    from .context import RequestContext


class RequestPhase(Enum):
    RECEIVING = "its body comes"
    QUEUED = "it waits for a lease"
    RELAYING = "a relay has it"
    RETRYING = "it is tried again soon"
    FINISHED = "it is over"


RETRIES: Final = 4
"""Four pauses are 0.75 s together: a server that is still listed then has not exited."""
RETRY_PAUSE: Final = Seconds(0.05)
"""Until the first retry; doubles. Enough for the news of the server's exit to arrive."""
_UNBEGUN: Final = frozenset(
    {EndReason.CONNECT_FAILED, EndReason.CONNECT_TIMEOUT, EndReason.UPSTREAM_LOST}
)
"""There was no connection, so nothing was sent: with `never_ran`."""
CLIENT_CLOSED: Final = 499
"""The status in log and record of a request whose client left (nginx's convention)."""
QUEUED: Final = RequestPhase.QUEUED
RELAYING: Final = RequestPhase.RELAYING
FINISHED: Final = RequestPhase.FINISHED
DONE: Final = EndReason.DONE
_ORDERLY: Final = frozenset({EndReason.DONE, EndReason.CLIENT_GONE, EndReason.CANCELLED})
_REASONS: Final = {reason: reason.name.lower() for reason in EndReason}
_DONE: Final = _REASONS[DONE]
_STALLS: Final = frozenset({EndReason.HEADER_TIMEOUT, EndReason.STALLED})


@dataclass(slots=True, eq=False)
class ProxyRequest:
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
    _relay: Relay | None = field(default=None, init=False)
    _arrival: BodyArrival | None = field(default=None, init=False)
    _wait: QueueWait | None = field(default=None, init=False)
    _tries: int = field(default=0, init=False)
    _retry_timer: asyncio.TimerHandle | None = field(default=None, init=False)

    # The body and what it means

    def receive(self) -> None:
        """Take the body; plain JSON comes the short way."""
        exchange = self.exchange
        ready = exchange.ready
        if not self.context.is_plain:
            self._arrival = BodyArrival(self.services, exchange, self.context, self)
            self._arrival.begin()
        elif ready is None:
            exchange.read_body(self.on_body)
        else:
            exchange.ready = b""
            self.on_body(ready)

    def on_body(self, body: bytes) -> None:
        resolved = resolve(self.context, body, self.exchange.request.query, self.services)
        self._body = body if resolved.body is None else resolved.body
        self._on_resolved(resolved)

    def on_stream(self, beginning: bytes, source: BodySource) -> None:
        self._body = source
        query = self.exchange.request.query
        self._on_resolved(resolve_stream(self.context, beginning, query, self.services))

    def on_form(self, fields: dict[str, bytes]) -> None:
        query = self.exchange.request.query
        self._on_resolved(resolve_form(self.context, fields, query, self.services))

    def _on_resolved(self, resolved: ResolvedRequest) -> None:
        self._resolved = resolved
        context, services = self.context, self.services
        if resolved.name and (context.is_recorded or context.is_tracked):
            self._record = record = RequestRecord(
                services, context, self.exchange.request, self._began, resolved
            )
            if context.is_tracked and resolved.target is not None:
                record.owner = self
                services.inflight.entries[record] = None
                if services.bus.listening:
                    services.inflight.on_added(record)
        target = resolved.target
        if resolved.refusal is not None or target is None:
            self.fail(resolved.refusal or ReplyError("internal error"))
            return
        if resolved.failed_edits:
            self._warn_of_edits(target.model, resolved.failed_edits)
        if isinstance(target, PeerTarget):
            self._send(context.snapshot.remotes[target.peer].upstream)
        elif context.unleased:
            self._send_unleased(target)
        else:
            self._dispatch(target)

    def _warn_of_edits(self, model: str, failed: tuple[str, ...]) -> None:
        for key in failed:
            self.services.log.once(
                f"filter {model} {key}",
                f"<{model}> a filter could not be applied to {key}; such requests go on without it",
            )

    # The lease

    def _dispatch(self, target: LocalTarget) -> None:
        context = self.context
        server = None if context.background else self.services.fleet.lease_now(target.model)
        if server is not None:
            self.on_lease(server, 0)
            return
        self._phase = QUEUED
        self.exchange.on_gone = self._on_client_gone
        if self._wait is None:
            self._wait = QueueWait(
                self.services,
                self.exchange,
                context,
                self,
                target.model,
                self._resolved.stream,
                self._began,
            )
        self._wait.enter()

    def on_lease(self, server: ModelServer, queue_ms: int) -> None:
        self._holds_lease = True
        self._server = server
        record = self._record
        if record is not None:
            record.queue_ms = queue_ms
            record.priority = server.model.spec.priority
        if self._phase is FINISHED:  # the client left while the grant was on its way
            self._release()
            return
        try:
            self._send(server.upstream)
        except Exception as bug:  # noqa: BLE001 - a border: a bug must not keep the lease for ever
            self.fail(ReplyError("internal error", detail=repr(bug)))

    def _send_unleased(self, target: LocalTarget) -> None:
        """Use a ready server without a lease: it may stop in the middle."""
        fleet = self.services.fleet
        try:
            check_loaded(fleet, target.model, self.context.unleased)
        except ReplyError as error:
            self.fail(error)
            return
        server = fleet.server(target.model)
        assert server is not None
        self._send(server.upstream)

    def _release(self) -> None:
        server = self._server
        if self._holds_lease and server is not None:
            self._holds_lease = False
            self.services.fleet.release(server.model.id)

    # The relay

    def _send(self, pool: UpstreamPool) -> None:
        exchange, resolved = self.exchange, self._resolved
        request = None
        if resolved.query is None and not exchange.started:
            request = self.context.upstream_requests.get(pool)
        if request is None:
            target = resolved.target
            assert target is not None
            query = exchange.request.query if resolved.query is None else resolved.query
            request = self.context.upstream_request(pool, query, target, started=exchange.started)
        if resolved.form is not None and not self._body:
            assert self._arrival is not None
            self._body = self._arrival.form_body(resolved.form)
        body = self._body
        is_whole = isinstance(body, bytes)
        record = self._record
        if record is not None:
            if isinstance(body, bytes):
                record.sent, record.sent_size = body, len(body)
            else:
                record.sent, record.sent_size = b"", exchange.request.content_length or 0
        self._phase = RELAYING
        self._relay = relay = Relay(exchange, pool, request, body, self, record)
        relay.begin(not is_whole)

    def on_whole(self, head: ResponseHead, data: bytes) -> None:
        now = monotonic()
        if self._record is not None:
            self._record.on_whole(head, data, now)
        self._finish(_DONE, now, len(data), head.status)

    def on_late_error(self, status: int, content_type: bytes, body: bytes) -> bytes:
        """Put a response that is no stream into the one that was already open for the keep-alives."""
        return late_error_event(self.context.endpoint.dialect, status, content_type, body)

    def error_event(self, result: RelayResult) -> bytes:
        return self._event(self._error_of(result))

    def on_end(self, result: RelayResult) -> None:
        self._relay = None
        reason, sent = result.reason, result.bytes_sent
        if reason is DONE:
            self._finish(_DONE, monotonic(), sent)
            return
        self._release()
        if self._server is not None and reason in _STALLS:
            self.services.fleet.stalled(self._server, result.detail)
        if reason is EndReason.CLIENT_GONE:
            self._finish(_REASONS[reason], monotonic(), sent, CLIENT_CLOSED)
        elif result.started:  # the status is out already; the record shall tell
            error = "" if reason in _ORDERLY else self._broken(result).text
            self._finish(_REASONS[reason], monotonic(), sent, error=error)
        elif reason is EndReason.CANCELLED:
            self.fail(cancelled_error(), result=result)
        elif self._may_retry(result):
            self.exchange.on_gone = self._on_client_gone
            self._retry_later(result)
        else:
            self.fail(self._error_of(result), result=result)

    def _error_of(self, result: RelayResult) -> ReplyError:
        if result.reason is EndReason.BODY_FAILED and self._arrival is not None:
            return self._arrival.form_error() or self._broken(result)
        return self._broken(result)

    def _broken(self, result: RelayResult) -> ReplyError:
        return relay_error(result, by_peer=isinstance(self._resolved.target, PeerTarget))

    # Retries

    def _may_retry(self, result: RelayResult) -> bool:
        return (
            self._tries < RETRIES
            and may_resend(result, is_whole=isinstance(self._body, bytes))
            and isinstance(self._resolved.target, LocalTarget)
            and not self.context.unleased
            and not self.exchange.finished
        )

    def _retry_later(self, result: RelayResult) -> None:
        self._phase = RequestPhase.RETRYING
        delay = RETRY_PAUSE * 2**self._tries
        self._tries += 1
        self._retry_timer = self.services.loop.call_later(delay, self._retry, result)

    def _retry(self, result: RelayResult) -> None:
        """Ask anew, when it is certain now that the request had not begun."""
        target = self._resolved.target
        assert isinstance(target, LocalTarget)
        if result.never_ran or self.services.fleet.server(target.model) is not self._server:
            self._dispatch(target)
        elif self._may_retry(result):
            self._retry_later(result)
        else:
            self.fail(self._error_of(result), result=result)

    # The end

    def cancel(self) -> None:
        if self._relay is not None:
            self._relay.cancel()
        else:
            self.fail(cancelled_error())

    def _on_client_gone(self) -> None:
        """End it: the client has left while no relay had the request."""
        self._finish("cancelled", monotonic(), 0, CLIENT_CLOSED)

    def fail(self, error: ReplyError, *, result: RelayResult | None = None) -> None:
        """Answer with an error, in whatever form the client can still read."""
        if self._phase is FINISHED:
            return
        if self._resolved is UNRESOLVED and self.context.named is not None:  # a broken form
            query = self.exchange.request.query
            resolved = resolve_form(self.context, {}, query, self.services)
            resolved.refusal = error
            self._on_resolved(resolved)  # for its record; it fails with the error
            return
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
            reason = _REASONS[result.reason]
            sent += result.bytes_sent
            status = CLIENT_CLOSED if result.reason is EndReason.CANCELLED else None
        self._finish(reason, monotonic(), sent, status, error=error.text)

    def _event(self, error: ReplyError) -> bytes:
        dialect, retry = self.context.endpoint.dialect, error.should_retry
        return error_event(dialect, error.status, error.text, error.code, should_retry=retry)

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
        services = self.services
        if self._wait is not None:
            self._wait.close()
        if self._retry_timer is not None:
            self._retry_timer.cancel()
        if self._arrival is not None:
            self._arrival.close()
        selection = self._resolved.selection
        if selection is not None:
            self.context.snapshot.selectors.decrement(*selection)
        server = self._server
        if self._holds_lease and server is not None:
            self._holds_lease = False
            services.fleet.release(server.model.id)
        record = self._record
        if record is not None:
            record.answered, record.shown_status = sent, status or self.exchange.status
            record.end(reason, now, status, error)
        elif services.shows_requests:
            before, after = self.context.before, self.context.after
            shown = status or self.exchange.status
            services.logs.request_line(before, shown, sent, after, now - self._began)


def may_resend(result: RelayResult, *, is_whole: bool) -> bool:
    """Tell whether the request cannot have begun, or perhaps has not; a streamed body is used up."""
    if not is_whole and not (result.never_ran and result.reason in _UNBEGUN):
        return False
    return result.never_ran or result.was_reset
