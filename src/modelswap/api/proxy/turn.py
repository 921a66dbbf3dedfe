"""The second act of a visit: a turn with the model, at once or after a wait.

For a model that is ready it is one plain call. Who has to wait is kept company:
a client that streams by `loading`, one that said how long it will wait by an
honest answer before that. It refuses to know how an answer is sent.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final

from modelswap.api.errors.error_mapping import refusal
from modelswap.api.protocols.stream_dialect import stream_dialect_of
from modelswap.core.models.lifecycle import Phase
from modelswap.core.naming.names import LocalTarget
from modelswap.errors import ReplyError, UnavailableError

from .arrival import Arrival
from .keep_alive_stream import KeepAliveStream, announced_timeout, before

if TYPE_CHECKING:
    from modelswap.api.protocols.stream_dialect import StreamDialect
    from modelswap.core.controller import Fail
    from modelswap.fleet import ModelServer
    from modelswap.http import UpstreamPool

ASK_AGAIN: Final = 5.0
"""Seconds until a client that could not wait may ask again, when nothing better is known."""
ASK_AGAIN_BY: Final = 60.0
"""Clients give up when they are told to wait much longer than this."""
STATE_PATH: Final = "/v1/chat/completions"
"""The only one on which `sendLoadingState` has an effect."""


class Turn(Arrival):
    """A visit that can get a lease."""

    __slots__ = ()

    # The next act

    def _send(self, upstream: UpstreamPool) -> None:
        """Send the request on."""
        raise NotImplementedError

    def _left(self) -> None:
        """The client has gone while nothing was on its way."""
        raise NotImplementedError

    # A turn

    def _dispatch(self) -> None:
        target = self._target
        assert isinstance(target, LocalTarget)
        fleet = self._front.services.fleet
        context = self._context
        if not context.background:
            server = fleet.lease_now(target.model, context.client)
            if server is not None:
                self._granted(server)
                return
        self._exchange.on_gone = self._left
        ticket = fleet.ask(
            target.model,
            self,
            client=context.client,
            background=context.background,
            watched=self._shows_state(),
            no_swap=context.no_swap,
        )
        if self._ended or self._holds:
            return
        self._ticket = ticket
        self._while_waiting()

    def _shows_state(self) -> bool:
        target = self._target
        assert isinstance(target, LocalTarget)
        services = self._front.services
        return (
            self._stream
            and self._snapshot.plan.models[target.model].send_loading_state
            and self._exchange.request.path == STATE_PATH
            and services.fleet.phase(target.model) is not Phase.READY
        )

    def _while_waiting(self) -> None:
        if self._loading is not None:
            self._loading.resume()
            return
        patience = announced_timeout(self._exchange.request.header)
        stream_dialect = stream_dialect_of(self._path) if self._stream else None
        if stream_dialect is not None:
            self._keep_alive(stream_dialect, patience)
        elif patience is not None and self._deadline is None:
            self._wait_no_longer_than(patience)

    def _keep_alive(self, stream_dialect: StreamDialect, patience: float | None) -> None:
        """Keep a client that streams waiting, however long it takes."""
        target = self._target
        assert isinstance(target, LocalTarget)
        front = self._front
        settings = self._snapshot.plan.settings
        grace: float = settings.loading_grace
        pulse: float = settings.loading_keep_alive
        if patience is not None:
            grace, pulse = min(grace, before(patience)), min(pulse, patience / 2)
        waited = monotonic() - self._begun
        self._loading = KeepAliveStream(
            self._exchange,
            front.loop,
            stream_dialect=stream_dialect,
            model=target.model,
            grace=max(0.0, grace - waited),
            pulse=pulse,
            fields=front.cors(self._exchange.request),
            shows_state=self._shows_state(),
        )
        if self._position:
            self._loading.on_position(self._position)

    def _wait_no_longer_than(self, patience: float) -> None:
        """Answer a client before it gives up; at once when it is known that it will."""
        target = self._target
        assert isinstance(target, LocalTarget)
        left = before(patience) - (monotonic() - self._begun)
        needed = self._front.services.fleet.load_time_left(target.model)
        if needed is not None and needed > left:
            left = 0.0
        self._deadline = self._front.loop.call_later(max(0.0, left), self._out_of_patience)

    def on_granted(self, server: ModelServer) -> None:
        self._ticket = None
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if self._loading is not None:
            self._loading.finish()
        self._granted(server, int((monotonic() - self._begun) * 1000))

    def _granted(self, server: ModelServer, waited_ms: int = 0) -> None:
        self._holds = True
        self._server = server
        record = self._record
        if record is not None:
            record.queue_ms = waited_ms
            record.priority = server.model.spec.priority
        if self._ended:  # the client left while the grant was on its way
            self._release()
            return
        try:
            self._send(server.upstream)
        except Exception as bug:  # noqa: BLE001 - a border: a bug must not keep the lease for ever
            self.fail(ReplyError("internal error", detail=repr(bug)))

    def on_refused(self, refused: Fail) -> None:
        self._ticket = None
        self.fail(refusal(refused, self._context.identity))

    def on_position(self, position: int) -> None:
        self._position = position
        if self._loading is not None:
            self._loading.on_position(position)

    def _out_of_patience(self) -> None:
        self._deadline = None
        ticket, self._ticket = self._ticket, None
        target = self._target
        assert isinstance(target, LocalTarget)
        fleet = self._front.services.fleet
        needed = fleet.load_time_left(target.model)
        if ticket is not None:
            fleet.leave(ticket)
        after = ASK_AGAIN if needed is None else min(max(needed, 1.0), ASK_AGAIN_BY)
        self.fail(
            UnavailableError(
                "the model is still loading; ask again", code="model_loading", retry_after=after
            )
        )

    def _drop_ticket(self) -> None:
        ticket, self._ticket = self._ticket, None
        if ticket is not None:
            self._front.services.fleet.cancel(ticket)

    def _release(self) -> None:
        server = self._server
        if self._holds and server is not None:
            self._holds = False
            self._front.services.fleet.release(server.model.id)
