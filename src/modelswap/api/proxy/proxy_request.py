"""One request to a model, from its body to its last byte.

A `ProxyRequest` is the request's state and, in turn, the waiter for its lease and the
watcher of its relay: one object, plain callbacks, no task. For a model that is
ready, the whole way from the parsed request to the bytes on the upstream's
socket is one call. Its three acts are `naming` (which model), `turn` (a lease)
and, here, the answer.

Whatever happens, a visit ends exactly once, in `_end`: the lease is given back
and the recording is closed.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final

from modelswap.api.errors.error_mapping import broken, cancelled
from modelswap.api.protocols.stream_dialect import error_event
from modelswap.core.naming.names import LocalTarget, PeerTarget
from modelswap.errors import ReplyError
from modelswap.http import EndReason, Relay
from modelswap.observe.usage.failure_text import describe

from .readiness import check_loaded
from .turn import Turn

if TYPE_CHECKING:
    from modelswap.api.protocols.stream_dialect import StreamDialect
    from modelswap.core.naming.names import Target
    from modelswap.http import RelayResult, ResponseHead, UpstreamPool, UpstreamRequest


RETRIES: Final = 4
"""How often a request is tried again whose server died before the request had begun."""
RETRY_PAUSE: Final = 0.05
"""Seconds until then; doubles. Enough for the news of the server's exit to arrive."""
CLIENT_CLOSED: Final = 499
BAD_REQUEST: Final = 400
DONE: Final = EndReason.DONE
CLIENT_GONE: Final = EndReason.CLIENT_GONE
_ORDERLY: Final = frozenset({EndReason.DONE, EndReason.CLIENT_GONE, EndReason.CANCELLED})
_ENDINGS: Final = {ending: ending.name.lower() for ending in EndReason}
_DONE: Final = _ENDINGS[DONE]
_UNBEGUN: Final = frozenset(
    {EndReason.CONNECT_FAILED, EndReason.CONNECT_TIMEOUT, EndReason.UPSTREAM_LOST}
)
"""There was no connection, so nothing was sent: with `never_ran`."""


class ProxyRequest(Turn):
    """One request to a model."""

    __slots__ = ()

    def _peek(self, target: Target, what: str = "polls") -> None:
        """Use a ready server without a lease: it may leave in the middle."""
        self._target = target
        if isinstance(target, PeerTarget):
            self._send(self._snapshot.remotes[target.peer].upstream)
            return
        fleet = self._front.services.fleet
        server = fleet.server(target.model)
        try:
            check_loaded(fleet, target.model, what)
        except ReplyError as error:
            self.fail(error)
            return
        assert server is not None
        self._tries = RETRIES
        self._send(server.upstream)

    # A turn

    def go(self, target: Target) -> None:
        """See `Naming.go`."""
        self._target = target
        if isinstance(target, PeerTarget):
            self._send(self._snapshot.remotes[target.peer].upstream)
            return
        self._dispatch()

    # The answer

    def _outbound(self, upstream: UpstreamPool) -> UpstreamRequest:
        target = self._target
        assert target is not None
        return self._context.outbound(upstream, self._query, target, begun=self._exchange.started)

    def _send(self, upstream: UpstreamPool) -> None:
        exchange = self._exchange
        outbound = None
        if not exchange.started and self._query == exchange.request.query:
            outbound = self._context.usual.get(upstream)
        if outbound is None:
            outbound = self._outbound(upstream)
        upload, form = self._upload, self._form
        if upload is not None and form is not None and not self._body:
            whole = upload.whole(values=form.values, remove=form.remove)
            self._body = whole or upload.source(values=form.values, remove=form.remove)
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
        self._relay = relay = Relay(exchange, upstream, outbound, body, self)
        relay.begin(fresh=not is_whole)

    def on_head(self, head: ResponseHead) -> None:
        if self._record is not None:
            self._record.on_head(head)

    def on_data(self, data: bytes) -> None:
        if self._record is not None:
            self._record.on_data(data)

    def on_whole(self, head: ResponseHead, data: bytes) -> None:
        """See `http.Watcher`: with this, all is over."""
        self._relay = None
        record = self._record
        now = monotonic()
        if record is not None:
            record.on_whole(head, data, now)
        if not self._ended:
            self._let_go()
            if record is not None:
                record.end(_DONE, now)
            self._say(head.status, len(data), now)

    def on_late_error(self, status: int, content_type: bytes, body: bytes) -> bytes:
        """Put an answer that is no stream into the one that was already open for the keep-alives."""
        stream_dialect = self._context.endpoint.dialect
        if status < BAD_REQUEST:
            kind = content_type.decode("latin-1") or "no content type"
            return error_event(
                stream_dialect, 502, f"the upstream answered {status} with {kind}, not events"
            )
        return error_event(stream_dialect, status, describe(status, body))

    def error_event(self, outcome: RelayResult) -> bytes | None:
        error = self._broken(outcome)
        return _event(self._context.endpoint.dialect, error)

    def on_end(self, outcome: RelayResult) -> None:
        self._relay = None
        self._release()
        ending = outcome.ending
        if ending is DONE:
            self._end(outcome)
            return
        self._report_stall(outcome)
        if ending is CLIENT_GONE or outcome.started:
            self._end(outcome)
            return
        if ending is EndReason.CANCELLED:
            self.fail(cancelled(), outcome=outcome)
            return
        if self._may_retry(outcome):
            self._exchange.on_gone = self._left
            self._retry_later(outcome)
            return
        self.fail(self._broken(outcome), outcome=outcome)

    def _broken(self, outcome: RelayResult) -> ReplyError:
        if outcome.ending is EndReason.BODY_FAILED and self._upload is not None:
            return self._form_error()
        return broken(outcome, by_peer=isinstance(self._target, PeerTarget))

    def _may_retry(self, outcome: RelayResult) -> bool:
        is_used_up = not isinstance(self._body, bytes)
        if is_used_up and not (outcome.never_ran and outcome.ending in _UNBEGUN):
            return False
        return (
            (outcome.never_ran or outcome.was_reset)
            and isinstance(self._target, LocalTarget)
            and self._tries < RETRIES
            and not self._exchange.finished
        )

    def _retry_later(self, outcome: RelayResult) -> None:
        delay = RETRY_PAUSE * 2**self._tries
        self._tries += 1
        self._retry = self._front.loop.call_later(delay, self._again, outcome)

    def _again(self, outcome: RelayResult) -> None:
        """Ask anew, when it is certain now that the request had not begun."""
        self._retry = None
        if outcome.never_ran or self._is_dead():
            self._dispatch()
        elif self._tries < RETRIES:
            self._retry_later(outcome)
        else:
            self.fail(self._broken(outcome), outcome=outcome)

    def _is_dead(self) -> bool:
        """Whether the server that had the request has exited meanwhile."""
        target = self._target
        assert isinstance(target, LocalTarget)
        return self._front.services.fleet.server(target.model) is not self._server

    def _report_stall(self, outcome: RelayResult) -> None:
        server = self._server
        if server is not None and outcome.ending in {EndReason.HEADER_TIMEOUT, EndReason.STALLED}:
            self._front.services.fleet.stalled(server, outcome.detail)

    # Endings

    def fail(
        self,
        error: ReplyError,
        *headers: tuple[str, str],
        outcome: RelayResult | None = None,
    ) -> None:
        """Answer with an error, in whatever form the client can still read."""
        if self._ended:
            return
        if self._loading is not None:
            self._loading.finish(failed=True)
        exchange = self._exchange
        if exchange.started:
            if not exchange.finished:
                exchange.end(_event(self._context.endpoint.dialect, error))
        else:
            self._replied = self._front.send_error(exchange, error, headers)
        if error.detail:
            self._front.services.log.warning(f"{error.text}: {error.detail}")
        if self._record is not None:
            self._record.replied(error.status)
        self._end(outcome, error=error)

    def cancel(self) -> None:
        """End it because somebody who may has said so."""
        if self._relay is not None:
            self._relay.cancel()
            return
        self._drop_ticket()
        self.fail(cancelled())

    def _left(self) -> None:
        """The client has gone while nothing was on its way."""
        self._drop_ticket()
        self._end(None, status=CLIENT_CLOSED)

    def _end(
        self,
        outcome: RelayResult | None,
        *,
        status: int | None = None,
        error: ReplyError | None = None,
    ) -> None:
        if not self._ended:
            self._let_go()
            self._write_down(outcome, status, error)

    def _let_go(self) -> None:
        """It is over: give back whatever it has."""
        self._ended = True
        if self._deadline is not None:
            self._deadline.cancel()
        if self._retry is not None:
            self._retry.cancel()
        if self._loading is not None:
            self._loading.finish()
        if self._upload is not None:
            self._upload.close()
        if self._selected is not None:
            self._snapshot.selectors.release(*self._selected)
        if self._holds:
            self._release()

    def _write_down(
        self, outcome: RelayResult | None, status: int | None, error: ReplyError | None
    ) -> None:
        record = self._record
        now = monotonic()
        sent = self._replied
        is_refused = error is not None and error.status != CLIENT_CLOSED
        ending = "refused" if is_refused else "cancelled"
        if outcome is not None:
            sent += outcome.bytes_sent
            if outcome.ending is DONE:  # the hash of an Enum's member costs a call
                ending = _DONE
            else:
                ending = _ENDINGS[outcome.ending]
                is_cancelled = outcome.ending is EndReason.CANCELLED and not outcome.started
                if outcome.ending is CLIENT_GONE or is_cancelled:
                    status = CLIENT_CLOSED
                elif error is None and outcome.ending not in _ORDERLY:
                    # the status is out already; the row shall tell
                    error = broken(outcome, by_peer=isinstance(self._target, PeerTarget))
        if record is not None:
            record.end(ending, now, status=status, error="" if error is None else error.text)
        self._say(status or self._exchange.status, sent, now)

    def _say(self, status: int, sent: int, now: float) -> None:
        """Log the request; `sent` bytes of body went to the client."""
        services = self._front.services
        if services.shows_requests:
            context = self._context
            services.logs.request_line(
                context.before, status, sent, context.after, now - self._begun
            )


def _event(stream_dialect: StreamDialect | None, error: ReplyError) -> bytes:
    return error_event(
        stream_dialect, error.status, error.text, error.code, should_retry=error.should_retry
    )
