"""One request to a model: the state machine from its body to its last byte.

`resolve` says what the request means, `BodyArrival` takes a body that is no plain JSON, `QueueWait`
waits for a lease, `Relay` sends. A `ProxyRequest` holds what they give it (lease, selection, relay)
and calls them in turn: plain callbacks, no task. For a model that is ready, the whole way from the
parsed request to the bytes on the upstream's socket is one call.

Guarantees: a request ends exactly once, in `_finish`, which gives back everything that it holds
and closes its record.
Does not: know routes, or the gateway.
"""

from __future__ import annotations

from enum import Enum
from time import monotonic
from typing import TYPE_CHECKING, Final

from modelswap.api.errors.error_mapping import cancelled_error, relay_error
from modelswap.api.protocols.stream_dialect import error_event
from modelswap.api.responses import send_error
from modelswap.core.naming.names import LocalTarget, PeerTarget
from modelswap.errors import ReplyError
from modelswap.http import EndReason, Relay
from modelswap.observe.activity.failure_text import describe
from modelswap.units import Seconds

from .body_arrival import BodyArrival
from .queue_wait import QueueWait
from .readiness import check_loaded
from .record import RequestRecord
from .resolve import UNRESOLVED, resolve, resolve_form, resolve_stream

if TYPE_CHECKING:
    import asyncio

    from modelswap.fleet import ModelServer
    from modelswap.http import BodySource, Exchange, RelayResult, ResponseHead, UpstreamPool

    from .context import RequestContext
    from .resolve import ResolvedRequest
    from .services import ProxyServices


class RequestPhase(Enum):
    """Where a request is on its way; it only ends once."""

    RECEIVING = "its body comes"
    QUEUED = "it waits for a lease"
    RELAYING = "a relay has it"
    RETRYING = "it is tried again soon"
    FINISHED = "it is over"


RETRIES: Final = 4
"""How often a request is tried again whose server died before the request had begun."""
RETRY_PAUSE: Final = Seconds(0.05)
"""Until the first retry; doubles. Enough for the news of the server's exit to arrive."""
CLIENT_CLOSED: Final = 499
"""The status in log and record of a request whose client left (nginx's convention)."""
BAD_REQUEST: Final = 400
"""The first status that is an error."""
RECEIVING: Final = RequestPhase.RECEIVING
QUEUED: Final = RequestPhase.QUEUED
RELAYING: Final = RequestPhase.RELAYING
FINISHED: Final = RequestPhase.FINISHED
DONE: Final = EndReason.DONE
_ORDERLY: Final = frozenset({EndReason.DONE, EndReason.CLIENT_GONE, EndReason.CANCELLED})
_REASONS: Final = {reason: reason.name.lower() for reason in EndReason}
_DONE: Final = _REASONS[DONE]
_UNBEGUN: Final = frozenset(
    {EndReason.CONNECT_FAILED, EndReason.CONNECT_TIMEOUT, EndReason.UPSTREAM_LOST}
)
"""There was no connection, so nothing was sent: with `never_ran`."""


class ProxyRequest:
    """One request to a model; receives its body and its lease, and owns its relay."""

    __slots__ = (
        "_arrival",
        "_began",
        "_body",
        "_context",
        "_exchange",
        "_holds_lease",
        "_phase",
        "_query",
        "_record",
        "_relay",
        "_resolved",
        "_retry",
        "_server",
        "_services",
        "_tries",
        "_wait",
    )

    def __init__(
        self, services: ProxyServices, exchange: Exchange, context: RequestContext
    ) -> None:
        self._services = services
        self._exchange = exchange
        self._context = context
        self._began = monotonic()
        self._phase = RECEIVING
        self._query = exchange.request.query
        self._body: bytes | BodySource = b""
        self._resolved = UNRESOLVED
        self._arrival: BodyArrival | None = None
        self._record: RequestRecord | None = None
        self._wait: QueueWait | None = None
        self._server: ModelServer | None = None
        """The last one that had the request."""
        self._holds_lease = False
        self._relay: Relay | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._tries = 0

    # The body and what it means

    def receive(self) -> None:
        """Take a body of any kind; for plain JSON, `on_body` is all it needs."""
        self._arrival = BodyArrival(self._services, self._exchange, self._context, self)
        self._arrival.begin()

    def on_body(self, body: bytes) -> None:
        """Go on with the whole body."""
        services = self._services
        resolved = resolve(self._context, body, self._query, services.profile, services.fleet)
        self._body = body if resolved.body is None else resolved.body
        self._on_resolved(resolved)

    def on_stream(self, beginning: bytes, source: BodySource) -> None:
        """Go on with a large body, which comes while it is sent."""
        services = self._services
        self._body = source
        self._on_resolved(
            resolve_stream(self._context, beginning, self._query, services.profile, services.fleet)
        )

    def on_form(self, fields: dict[str, bytes]) -> None:
        """Go on with a form, which the arrival holds."""
        services = self._services
        self._on_resolved(
            resolve_form(self._context, fields, self._query, services.profile, services.fleet)
        )

    def _on_resolved(self, resolved: ResolvedRequest) -> None:
        """Begin the record, and go for a lease."""
        self._resolved = resolved
        context = self._context
        name = resolved.name
        if name and (context.is_recorded or context.is_tracked):
            target = resolved.target
            self._record = record = RequestRecord(
                self._services,
                context,
                self._exchange.request,
                self._began,
                target.model if isinstance(target, LocalTarget) else name,
                name,
            )
            record.stream = resolved.stream
            if context.is_tracked and target is not None:
                record.cancel = self.cancel
                self._services.inflight.enter(record)
            if resolved.selection is not None:
                record.selector = resolved.selection[0]
        if resolved.refusal is not None:
            self.fail(resolved.refusal)
            return
        if resolved.query is not None:
            self._query = resolved.query
        for key in resolved.failed_edits:
            self._report_failed_edit(key)
        if context.unleased:
            self._send_unleased()
        else:
            self._dispatch()

    def _report_failed_edit(self, key: str) -> None:
        target = self._resolved.target
        assert target is not None
        self._services.log.once(
            f"filter {target.model} {key}",
            f"<{target.model}> a filter could not be applied to {key}; "
            "such requests go on without it",
        )

    # The lease

    def _dispatch(self) -> None:
        """Get a lease of the model, at once or after a wait; a peer needs none."""
        target = self._resolved.target
        context = self._context
        if not isinstance(target, LocalTarget):
            self._send_to_peer()
            return
        if not context.background:
            server = self._services.fleet.lease_now(target.model, context.client)
            if server is not None:
                self.on_lease(server, 0)
                return
        self._phase = QUEUED
        self._exchange.on_gone = self._on_client_gone
        if self._wait is None:
            self._wait = QueueWait(
                self._services,
                self._exchange,
                context,
                self,
                target.model,
                stream=self._resolved.stream,
                began=self._began,
            )
        self._wait.enter()

    def on_lease(self, server: ModelServer, queue_ms: int) -> None:
        """Send the request to the server, whose lease this request has now."""
        self._holds_lease = True
        self._server = server
        record = self._record
        if record is not None:
            record.queue_ms = queue_ms
            record.priority = server.model.priority
        if self._phase is FINISHED:  # the client left while the grant was on its way
            self._release()
            return
        try:
            self._send(server.upstream)
        except Exception as bug:  # noqa: BLE001 - a border: a bug must not keep the lease for ever
            self.fail(ReplyError("internal error", detail=repr(bug)))

    def _send_to_peer(self) -> None:
        target = self._resolved.target
        assert isinstance(target, PeerTarget)
        self._send(self._context.snapshot.remotes[target.peer].upstream)

    def _send_unleased(self) -> None:
        """Use a ready server without a lease: it may stop in the middle."""
        target = self._resolved.target
        if not isinstance(target, LocalTarget):
            self._send_to_peer()
            return
        fleet = self._services.fleet
        server = fleet.server(target.model)
        try:
            check_loaded(fleet, target.model, self._context.unleased)
        except ReplyError as error:
            self.fail(error)
            return
        assert server is not None
        self._tries = RETRIES
        self._send(server.upstream)

    def _release(self) -> None:
        """Give the lease back."""
        server = self._server
        if self._holds_lease and server is not None:
            self._holds_lease = False
            self._services.fleet.release(server.model.id)

    # The relay

    def _send(self, pool: UpstreamPool) -> None:
        exchange = self._exchange
        context = self._context
        resolved = self._resolved
        request = None
        if not exchange.started and self._query == exchange.request.query:
            request = context.upstream_requests.get(pool)
        if request is None:
            target = resolved.target
            assert target is not None
            request = context.upstream_request(pool, self._query, target, started=exchange.started)
        if resolved.form is not None and not self._body:
            assert self._arrival is not None
            self._body = self._arrival.form_body(resolved.form)
        body = self._body
        is_whole = isinstance(body, bytes)
        record = self._record
        if record is not None:
            if isinstance(body, bytes):
                record.sent = body
                record.sent_size = len(body)
            else:
                record.sent = b""
                record.sent_size = exchange.request.content_length or 0
        self._phase = RELAYING
        self._relay = relay = Relay(exchange, pool, request, body, self, record)
        relay.begin(fresh=not is_whole)

    def on_whole(self, head: ResponseHead, data: bytes) -> None:
        """End with a response that came in one piece."""
        record = self._record
        now = monotonic()
        if record is not None:
            record.on_whole(head, data, now)
        self._finish(_DONE, now, len(data), head.status)

    def on_late_error(self, status: int, content_type: bytes, body: bytes) -> bytes:
        """Put a response that is no stream into the one that was already open for the keep-alives."""
        dialect = self._context.endpoint.dialect
        if status < BAD_REQUEST:
            kind = content_type.decode("latin-1") or "no content type"
            return error_event(
                dialect, 502, f"the upstream answered {status} with {kind}, not events"
            )
        return error_event(dialect, status, describe(status, body))

    def error_event(self, result: RelayResult) -> bytes:
        """Give the last event of a stream that breaks."""
        return self._event(self._error_of(result))

    def on_end(self, result: RelayResult) -> None:
        """End, or try again, when the relay ended."""
        self._relay = None
        reason = result.reason
        if reason is DONE:
            self._finish(_DONE, monotonic(), result.bytes_sent)
            return
        self._release()
        self._report_stall(result)
        if reason is EndReason.CLIENT_GONE:
            self._finish(_REASONS[reason], monotonic(), result.bytes_sent, CLIENT_CLOSED)
        elif result.started:  # the status is out already; the record shall tell
            error = (
                "" if reason in _ORDERLY else relay_error(result, by_peer=self._is_for_peer).text
            )
            self._finish(_REASONS[reason], monotonic(), result.bytes_sent, error=error)
        elif reason is EndReason.CANCELLED:
            self.fail(cancelled_error(), result=result)
        elif self._may_retry(result):
            self._exchange.on_gone = self._on_client_gone
            self._retry_later(result)
        else:
            self.fail(self._error_of(result), result=result)

    @property
    def _is_for_peer(self) -> bool:
        return isinstance(self._resolved.target, PeerTarget)

    def _error_of(self, result: RelayResult) -> ReplyError:
        if result.reason is EndReason.BODY_FAILED and self._arrival is not None:
            error = self._arrival.form_error()
            if error is not None:
                return error
        return relay_error(result, by_peer=self._is_for_peer)

    def _report_stall(self, result: RelayResult) -> None:
        server = self._server
        if server is not None and result.reason in {EndReason.HEADER_TIMEOUT, EndReason.STALLED}:
            self._services.fleet.stalled(server, result.detail)

    # Retries

    def _may_retry(self, result: RelayResult) -> bool:
        is_used_up = not isinstance(self._body, bytes)
        if is_used_up and not (result.never_ran and result.reason in _UNBEGUN):
            return False
        return (
            (result.never_ran or result.was_reset)
            and isinstance(self._resolved.target, LocalTarget)
            and self._tries < RETRIES
            and not self._exchange.finished
        )

    def _retry_later(self, result: RelayResult) -> None:
        self._phase = RequestPhase.RETRYING
        delay = RETRY_PAUSE * 2**self._tries
        self._tries += 1
        self._retry = self._services.loop.call_later(delay, self._retry_now, result)

    def _retry_now(self, result: RelayResult) -> None:
        """Ask anew, when it is certain now that the request had not begun."""
        self._retry = None
        if result.never_ran or self._has_server_exited():
            self._dispatch()
        elif self._tries < RETRIES:
            self._retry_later(result)
        else:
            self.fail(self._error_of(result), result=result)

    def _has_server_exited(self) -> bool:
        target = self._resolved.target
        assert isinstance(target, LocalTarget)
        return self._services.fleet.server(target.model) is not self._server

    # The end

    def cancel(self) -> None:
        """End it for an administrator."""
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
        if self._wait is not None:
            self._wait.close(failed=True)
        exchange = self._exchange
        sent = 0
        if not exchange.started:
            sent = send_error(exchange, error, self._context.snapshot.site_rules)
        elif not exchange.finished:
            exchange.end(self._event(error))
        if error.detail:
            self._services.log.warning(f"{error.text}: {error.detail}")
        if self._record is not None:
            self._record.replied(error.status)
        status = None
        if result is None:
            reason = "cancelled" if error.status == CLIENT_CLOSED else "refused"
        else:
            reason = _REASONS[result.reason]
            sent += result.bytes_sent
            if result.reason is EndReason.CANCELLED:
                status = CLIENT_CLOSED
        self._finish(reason, monotonic(), sent, status, error=error.text)

    def _event(self, error: ReplyError) -> bytes:
        dialect = self._context.endpoint.dialect
        return error_event(
            dialect, error.status, error.text, error.code, should_retry=error.should_retry
        )

    def _finish(
        self, reason: str, now: float, sent: int, status: int | None = None, *, error: str = ""
    ) -> None:
        """End the request: give back what it holds, and write down how it ended.

        `sent` bytes of body went to the client. `status` is for record and log, where it is not
        what was sent.
        """
        if self._phase is FINISHED:
            return
        self._phase = FINISHED
        self._relay = None
        services = self._services
        if self._wait is not None:
            self._wait.close()
        if self._retry is not None:
            self._retry.cancel()
        if self._arrival is not None:
            self._arrival.close()
        selection = self._resolved.selection
        if selection is not None:
            self._context.snapshot.selectors.release(*selection)
        server = self._server
        if self._holds_lease and server is not None:
            self._holds_lease = False
            services.fleet.release(server.model.id)
        if self._record is not None:
            self._record.end(reason, now, status=status, error=error)
        if services.shows_requests:
            context = self._context
            services.logs.request_line(
                context.before,
                status or self._exchange.status,
                sent,
                context.after,
                now - self._began,
            )
