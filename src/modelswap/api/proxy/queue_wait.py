"""Waits in the queue for a lease of a model, and keeps the client informed meanwhile.

A client that reads an event stream gets keep-alives. One that announced how long it waits gets
its answer before it gives up, and one without a stream does not wait for a long pull.

Guarantees: `close` gives the place in the queue back, and nothing is sent to the client any more.
"""

from __future__ import annotations

from dataclasses import field
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol

from modelswap.api.errors.error_mapping import wait_error
from modelswap.core.commands import LeaseRequest
from modelswap.core.models.lifecycle import UP, Phase
from modelswap.deferred import dataclass
from modelswap.errors import RouterError, UnavailableError
from modelswap.units import Seconds

from .keep_alive_stream import KeepAliveStream, announced_timeout, before

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from modelswap.api.protocols.stream_dialect import StreamDialect
    from modelswap.api.services import Services
    from modelswap.core.commands import Fail
    from modelswap.core.spec import ModelId
    from modelswap.errors import ReplyError
    from modelswap.fleet import ModelServer, Ticket
    from modelswap.http import Exchange
    from modelswap.pull.progress import PullProgress

    from .context import RequestContext

ASK_AGAIN: Final = Seconds(5.0)
"""Until a client that could not wait may ask again, when nothing better is known."""
ASK_AGAIN_BY: Final = Seconds(60.0)
"""Clients give up when they are told to wait much longer than this."""
ASK_AGAIN_FROM: Final = Seconds(1.0)
"""`Retry-After` has whole seconds."""


class LeaseReceiver(Protocol):
    def on_lease(self, server: ModelServer, queue_ms: int) -> None:
        """Take the lease; it waited for `queue_ms` milliseconds."""

    def fail(self, error: ReplyError) -> None: ...

    def number(self) -> int:
        """Return the request's id in the list of running requests; 0: it is not in the list."""
        ...


@dataclass(slots=True, eq=False)
class QueueWait:
    """One request's wait; it goes on when the request is tried again."""

    services: Services
    exchange: Exchange
    context: RequestContext
    receiver: LeaseReceiver
    model: ModelId
    stream: bool
    began: float
    """When the request came (monotonic)."""
    _ticket: Ticket | None = field(default=None, init=False)
    _is_over: bool = field(default=False, init=False)
    _deadline: asyncio.TimerHandle | None = field(default=None, init=False)
    _keep_alives: KeepAliveStream | None = field(default=None, init=False)
    _position: int = field(default=0, init=False)
    """The last place that was told; it may come before `_keep_alives` is there."""

    def enter(self) -> None:
        """Take a place in the queue; the receiver may be called before this returns."""
        self._is_over = False
        context = self.context
        # One that may not load its model waits for a load that has begun.
        if not context.autoload and self.services.fleet.listed_phase(self.model) not in UP:
            self.receiver.fail(RouterError(400, "model is not loaded"))
            return
        shows_state = self._shows_state()
        request = LeaseRequest(
            self.model,
            context.client,
            background=context.background,
            watched=shows_state,
            no_swap=context.no_swap,
            number=self.receiver.number(),
        )
        ticket = self.services.fleet.ask(request, self)
        if not self._is_over:
            self._ticket = ticket
            self._inform_client(shows_state=shows_state)

    def close(self, *, failed: bool = False) -> None:
        self._is_over = True
        ticket, self._ticket = self._ticket, None
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if self._keep_alives is not None:
            self._keep_alives.finish(failed=failed)
        if ticket is not None:
            self.services.fleet.cancel(ticket)

    # As a waiter of the fleet

    def on_granted(self, server: ModelServer) -> None:
        self._ticket = None
        self.close()
        self.receiver.on_lease(server, int((monotonic() - self.began) * 1000))

    def on_refused(self, refused: Fail) -> None:
        self._ticket = None
        self._is_over = True
        services, model = self.services, self.model
        self.receiver.fail(
            wait_error(
                refused, self.context.identity, lambda: services.fleet_events.last_lines(model)
            )
        )

    def on_position(self, position: int) -> None:
        self._position = position
        if self._keep_alives is not None:
            self._keep_alives.on_position(position)

    # The client

    def _shows_state(self) -> bool:
        context = self.context
        return (
            self.stream
            and context.snapshot.plan.models[self.model].send_loading_state
            and context.endpoint.shows_loading
            and context.path == context.request.path
            and self.services.fleet.phase(self.model) is not Phase.READY
        )

    def _inform_client(self, *, shows_state: bool) -> None:
        if self._keep_alives is not None:
            self._keep_alives.resume()
            return
        timeout = announced_timeout(self.exchange.request.header)
        dialect = self.context.endpoint.dialect if self.stream else None
        if dialect is not None:
            self._start_keep_alives(dialect, timeout, shows_state=shows_state)
        elif timeout is not None or self._pull() is not None:
            self._start_deadline(timeout)

    def _start_keep_alives(
        self, dialect: StreamDialect, timeout: float | None, *, shows_state: bool
    ) -> None:
        snapshot = self.context.snapshot
        grace: float = snapshot.plan.settings.loading_grace
        interval: float = snapshot.plan.settings.loading_keep_alive
        if timeout is not None:
            grace, interval = min(grace, before(timeout)), min(interval, timeout / 2)
        self._keep_alives = KeepAliveStream(
            self.exchange,
            self.services.loop,
            stream_dialect=dialect,
            model=self.model,
            grace=max(0.0, grace - (monotonic() - self.began)),
            interval=interval,
            fields=snapshot.site_rules.cors(self.exchange.request.header(b"origin")),
            shows_state=shows_state,
            progress=self._pull_words() if shows_state else str,
        )
        if self._position:
            self._keep_alives.on_position(self._position)

    def _pull_words(self) -> Callable[[], str]:
        from modelswap.api.pulls.words import PullWords  # noqa: PLC0415 - only where the state is shown

        return PullWords(self._pull)

    def _pull(self) -> PullProgress | None:
        return self.services.fleet.pull_of(self.model)

    def _start_deadline(self, timeout: float | None) -> None:
        """Answer a client before it gives up, or its pull takes too long; at once when that is known."""
        passed = monotonic() - self.began
        left = inf if timeout is None else before(timeout) - passed
        is_pulling = self._pull() is not None
        needed = self.services.fleet.load_time_left(self.model)
        if not is_pulling and needed is not None and needed > left:
            left = 0.0
        patience = self.context.snapshot.plan.settings.pull.wait - passed if is_pulling else inf
        if patience < left:
            self._call_later(patience, self._on_long_pull)
        elif left < inf:
            self._call_later(left, self._on_deadline)

    def _call_later(self, delay: float, call: Callable[[], None]) -> None:
        self._deadline = self.services.loop.call_later(max(0.0, delay), call)

    def _on_long_pull(self) -> None:
        """Let the client ask again, unless the pull is over: the load may take as long as any other."""
        if self._pull() is not None:
            self._on_deadline()
            return
        self._deadline = None
        timeout = announced_timeout(self.exchange.request.header)
        if timeout is not None:
            self._start_deadline(timeout)

    def _on_deadline(self) -> None:
        self._deadline = None
        fleet, pull = self.services.fleet, self._pull()
        needed = fleet.load_time_left(self.model) if pull is None else pull.seconds_left
        if self._ticket is not None:
            fleet.leave(self._ticket)  # what runs goes on: the client asks again
            self._ticket = None
        after = ASK_AGAIN if needed is None else min(max(needed, ASK_AGAIN_FROM), ASK_AGAIN_BY)
        if pull is None:
            text, code = "the model is still loading; ask again", "model_loading"
        else:
            from modelswap.api.pulls.words import pull_words  # noqa: PLC0415 - where models are pulled

            text, code = f"the model is still being pulled; {pull_words(pull)}", "model_pulling"
        self.receiver.fail(UnavailableError(text, code=code, retry_after=after))
