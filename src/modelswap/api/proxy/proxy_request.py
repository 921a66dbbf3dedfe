"""One request to a model: the state machine from its body to its last byte.

Plain callbacks, no task: for a model that is ready, the whole way from the parsed request to the
bytes on the upstream's socket is one call.
A small request on an idle connection is sent without a relay, and gets one only when its response
does not come whole in one read.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from modelswap.api.errors.error_mapping import cancelled_error
from modelswap.api.proxy.context import UNRESOLVED, ResolvedRequest
from modelswap.core.naming.names import LocalTarget, PeerTarget
from modelswap.deferred import dataclass
from modelswap.errors import ReplyError
from modelswap.http import EndReason, Relay

from .body_arrival import BodyArrival
from .queue_wait import QueueWait
from .readiness import check_loaded
from .record import RequestRecord
from .request_state import (
    CLIENT_CLOSED,
    DONE,
    FINISHED,
    ORDERLY,
    QUEUED,
    REASONS,
    RELAYING,
    STALLS,
    RequestPhase,
    RequestState,
    Retries,
)
from .resolve import resolve, resolve_form, resolve_stream

if TYPE_CHECKING:
    from modelswap.core.spec import ModelId
    from modelswap.fleet import ModelServer
    from modelswap.http import (
        BodySource,
        RelayResult,
        ResponseHead,
        UpstreamPool,
        UpstreamReader,
    )


@dataclass(slots=True, eq=False)
class ProxyRequest(RequestState):
    """Moves it on, from its body to its end."""

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
        """Note the request; then it goes its way, in this frame where nothing is to be decided."""
        self._resolved = resolved
        context, services = self.context, self.services
        if resolved.name and (context.is_recorded or context.is_tracked):
            self._record = record = RequestRecord(
                services, context, self.exchange.request, self._began, resolved
            )
            if context.is_tracked and resolved.target is not None:
                record.owner = self
                if services.bus.listening:
                    services.inflight.add(record)
                else:
                    services.inflight.entries[record] = None
        straight = resolved.straight
        if straight is None or context.background:
            self._go_on(resolved)
        elif (server := services.fleet.lease_now(straight.model)) is None:
            self._enter_queue(straight.model)
        else:
            self._send_known(server)

    def _send_known(self, server: ModelServer) -> None:
        """Do at once what `on_lease` and `_send` do: the body is whole, and goes on as it came."""
        self._holds_lease = True
        self._server = server
        exchange, body = self.exchange, self._body
        pool = server.upstream
        request = self.context.upstream_requests.get(pool)
        if request is None or exchange.finished or not isinstance(body, bytes):
            self.on_lease(server, 0)
            return
        record = self._record
        if record is not None:
            record.queue_ms = 0
            record.priority = server.model.spec.priority
            record.sent, record.sent_size = body, len(body)
        self._pool, self._request = pool, request
        try:
            self._connection = pool.ask(self, request, body)
            if self._connection is None:
                self.on_lease(server, 0)
            else:
                self._phase = RELAYING
                exchange.on_gone = self._on_client_gone
        except Exception as bug:  # noqa: BLE001 - a border: a bug must not keep the lease for ever
            self.fail(ReplyError("internal error", detail=repr(bug)))

    def _go_on(self, resolved: ResolvedRequest) -> None:
        target = resolved.target
        if resolved.refusal is not None or target is None:
            self.fail(resolved.refusal or ReplyError("internal error"))
            return
        if resolved.failed_edits:
            self._warn_of_edits(target.model, resolved.failed_edits)
        if isinstance(target, PeerTarget):
            self._send(self.context.snapshot.remotes[target.peer].upstream)
        elif self.context.unleased:
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
        server = None
        if not self.context.background:
            server = self.services.fleet.lease_now(target.model)
        if server is None:
            self._enter_queue(target.model)
        else:
            self.on_lease(server, 0)

    def _enter_queue(self, model: ModelId) -> None:
        self._phase = QUEUED
        self.exchange.on_gone = self._on_client_gone
        if self._wait is None:
            self._wait = QueueWait(
                self.services,
                self.exchange,
                self.context,
                self,
                model,
                self._resolved.stream,
                self._began,
            )
        self._wait.enter()

    def number(self) -> int:
        record = self._record
        return 0 if record is None else self.services.inflight.number_of(record)

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
        self._pool, self._request = pool, request
        self._new_relay().begin(not is_whole)

    def _new_relay(self) -> Relay:
        self._relay = relay = Relay(
            self.exchange, self._pool, self._request, self._body, self, self._record
        )
        return relay

    def _relay_if_any(self) -> Relay | None:
        """The relay that has the request; a request that was sent without one gets one now."""
        if self._connection is not None:
            self._connection.observer()
        return self._relay

    def observer_on(self, connection: UpstreamReader | None) -> Relay:
        self._connection = None
        relay = self._new_relay()
        relay.take_over(connection)
        return relay

    def on_response(self, head: ResponseHead, data: bytes) -> None:
        if head.is_active or not self.exchange.send_whole(head.status, head.length_block, data):
            self.observer_on(None).on_whole(head, data)
            return
        self._connection = None
        self.on_whole(head, data)

    def on_whole(self, head: ResponseHead, data: bytes) -> None:
        now = monotonic()
        try:
            if self._record is not None:
                self._record.on_whole(head, data, now)
        except Exception as bug:  # noqa: BLE001 - a border: a bug must not keep the lease for ever
            self.fail(ReplyError("internal error", detail=repr(bug)))
        else:
            self._finish(DONE, now, len(data), head.status)

    def on_end(self, result: RelayResult) -> None:
        self._relay = None
        reason, sent = result.reason, result.bytes_sent
        if reason is EndReason.DONE:
            self._finish(DONE, monotonic(), sent)
            return
        self._release()
        if self._server is not None and reason in STALLS:
            self.services.fleet.stalled(self._server, result.detail)
        if reason is EndReason.CLIENT_GONE:
            self._finish(REASONS[reason], monotonic(), sent, CLIENT_CLOSED)
        elif result.started:  # the status is out already; the record shall tell
            error = "" if reason in ORDERLY else self._broken(result).text
            self._finish(REASONS[reason], monotonic(), sent, error=error)
        elif reason is EndReason.CANCELLED:
            self.fail(cancelled_error(), result=result)
        elif self._may_retry(result):
            self.exchange.on_gone = self._on_client_gone
            self._retry_later(result)
        else:
            self.fail(self._error_of(result), result=result)

    # Retries

    def _may_retry(self, result: RelayResult) -> bool:
        return (
            not (self._retries is not None and self._retries.is_used_up)
            and result.may_resend(is_whole=isinstance(self._body, bytes))
            and isinstance(self._resolved.target, LocalTarget)
            and not self.context.unleased
            and not self.exchange.finished
        )

    def _retry_later(self, result: RelayResult) -> None:
        self._phase = RequestPhase.RETRYING
        if self._retries is None:
            self._retries = Retries(self.services.loop, self._retry)
        self._retries.later(result)

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
        relay = self._relay_if_any()
        if relay is not None:
            relay.cancel()
        else:
            self.fail(cancelled_error())

    def _on_client_gone(self) -> None:
        """End it: the client has left."""
        relay = self._relay_if_any()
        if relay is not None:
            relay.on_client_gone()
        else:
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
        self._answer(error, result)
