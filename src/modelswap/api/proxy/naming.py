"""The first act of a visit: which model the request means, and whether it may.

The name comes from a body, a form that streams by, a query or the path; pins,
selectors, aliases and peers are `core.names`'. What the model's filters ask for
is edited here, so that the rest of the visit only sends. It refuses to wait and
to send: those are the next acts.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, assert_never

from modelswap.api.auth.model_restrictions import refuse_others, refuse_others_below
from modelswap.api.errors.error_mapping import NO_ROUTER
from modelswap.api.routing.filters import rename_query, rewrite
from modelswap.api.routing.form_filters import FormEdits, form_edits
from modelswap.api.routing.model_selector import (
    MOST_NAME,
    NO_MODEL,
    NameLocation,
    find,
    find_in_json,
    find_in_multipart,
)
from modelswap.api.routing.peer_names import made_bare
from modelswap.core.naming.names import LocalTarget, NoTarget, Off, PeerTarget, Unknown
from modelswap.errors import (
    BadRequestError,
    ForbiddenError,
    NotFoundError,
    ReplyError,
    UnavailableError,
)

from .bodies import MARK
from .record import RequestRecord

if TYPE_CHECKING:
    import asyncio

    from modelswap.api.gateway import Gateway
    from modelswap.api.routing.filters import Edit
    from modelswap.core.naming.names import Target
    from modelswap.fleet import ModelServer, Ticket
    from modelswap.http import BodySource, Exchange, Relay, RelayResult, Upload

    from .context import RequestContext
    from .keep_alive_stream import KeepAliveStream


class Naming:
    """The state of a visit, and its first act."""

    __slots__ = (
        "_begun",
        "_body",
        "_context",
        "_deadline",
        "_ended",
        "_exchange",
        "_form",
        "_front",
        "_holds",
        "_loading",
        "_path",
        "_position",
        "_query",
        "_record",
        "_relay",
        "_replied",
        "_retry",
        "_selected",
        "_server",
        "_snapshot",
        "_stream",
        "_target",
        "_ticket",
        "_tries",
        "_upload",
    )

    def __init__(self, front: Gateway, exchange: Exchange, context: RequestContext) -> None:
        self._front = front
        self._context = context
        self._snapshot = context.snapshot
        self._exchange = exchange
        self._begun = monotonic()
        self._path = context.path
        self._query = exchange.request.query
        self._record: RequestRecord | None = None
        self._selected: tuple[str, str] | None = None
        self._body: bytes | BodySource = b""
        self._upload: Upload | None = None
        self._form: FormEdits | None = None
        self._stream = False
        self._target: Target | None = None
        self._ticket: Ticket | None = None
        self._server: ModelServer | None = None
        self._holds = False
        self._relay: Relay | None = None
        self._replied = 0
        """Bytes of an answer of our own."""
        self._loading: KeepAliveStream | None = None
        self._position = 0
        """The last place in the queue that was told; it may come before `_loading` is there."""
        self._deadline: asyncio.TimerHandle | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._tries = 0
        self._ended = False

    # The next acts

    def go(self, target: Target) -> None:
        """Go on with the peer or the model."""
        raise NotImplementedError

    def _dispatch(self) -> None:
        """Get a lease of the model, or wait for one."""
        raise NotImplementedError

    def fail(
        self, error: ReplyError, *headers: tuple[str, str], outcome: RelayResult | None = None
    ) -> None:
        """Answer with an error, in whatever form the client can still read."""
        raise NotImplementedError

    def cancel(self) -> None:
        """End it because somebody who may has said so."""
        raise NotImplementedError

    def _peek(self, target: Target, what: str = "polls") -> None:
        """Use a ready server without a lease: it may leave in the middle."""
        raise NotImplementedError

    # Which model

    def on_body(self, body: bytes) -> None:
        """Go on with the whole body."""
        context = self._context
        try:
            if context.source is NameLocation.JSON:
                ask = find_in_json(body)
            else:
                if body.startswith(MARK):
                    body = body.removeprefix(MARK)
                ask = find(context.request.method, context.kind, self._query, body)
            self._stream = ask.stream
            profile = self._front.services.profile
            if profile is None and (direct := context.direct.get(ask.model)) is not None:
                self._named(ask.model, direct)
                self._body = body
                self._target = direct
                self._dispatch()
                return
            target = self.resolve(ask.model)
            if context.identity.models:
                names = self._snapshot.names
                refuse_others(context.identity, names, ask, query=self._query, body=body)
        except ReplyError as error:
            if body.startswith(MARK) and not body.startswith(MARK, len(MARK)):
                self.on_body(body[len(MARK) :])
            else:
                self.fail(error)
            return
        edit = self._snapshot.edit_of(target)
        if edit is None and target.rewrite is None:
            self._body = body
            if profile is None and self._selected is None and isinstance(target, LocalTarget):
                context.remember(ask.model, target)
        else:
            self._body = self._edited(edit, target, ask.source, body)
        self.go(target)

    def _edited(
        self, edit: Edit | None, target: Target, source: NameLocation, body: bytes
    ) -> bytes:
        """Return the body as the model gets it; the query may change beside it."""
        made = rewrite(edit, target, source, body, self._query)
        self._query = made.query
        for key in made.failed:
            self._front.services.log.once(
                f"filter {target.model} {key}",
                f"<{target.model}> a filter could not be applied to {key}; "
                "such requests go on without it",
            )
        return made.body

    def _on_fields(self, fields: dict[str, bytes]) -> None:
        texts = {name: value.decode("utf-8", "replace") for name, value in fields.items()}
        try:
            ask = find_in_multipart(self._query, texts)
            self._stream = ask.stream
            target = self.resolve(ask.model)
            identity, field = self._context.identity, texts.get("model", "")
            refuse_others(identity, self._snapshot.names, ask, query=self._query, field=field)
        except ReplyError as error:
            self.fail(error)
            return
        rules = self._snapshot.edit_of(target)
        name = target.rewrite
        if ask.source is NameLocation.QUERY and name is not None:
            self._query = rename_query(self._query, name)
            name = None
        self._form = form_edits(rules, requested=target.requested, rename=name)
        self.go(target)

    def on_poll(self, _: bytes) -> None:
        """Ask a model that runs; start nothing, and keep nothing alive."""
        try:
            target = self.resolve(find("GET", None, self._query, b"").model)
        except ReplyError as error:
            self.fail(error)
            return
        self._peek(target)

    def pass_through(
        self, name: str, target: Target, body: bytes | BodySource, *, polls: bool = False
    ) -> None:
        """Send the request on with this body; for one that comes the caller has looked at the key."""
        self._named(name, target)
        request = self._exchange.request
        try:
            self._check(name, target)
            if isinstance(target, PeerTarget) and self._context.identity.models:
                refuse_others_below(
                    self._context.identity,
                    self._snapshot.names,
                    method=request.method,
                    kind=self._context.kind,
                    query=self._query,
                    body=body if isinstance(body, bytes) else b"?",
                )
            if isinstance(target, PeerTarget) and target.rewrite is not None:
                coded = self._context.is_coded
                kind = None if coded else request.header(b"content-type")
                known = body if isinstance(body, bytes) else b""
                made = made_bare(target, request.method, kind, self._query, known)
                self._query = made.query
                body = made.body if isinstance(body, bytes) else body
        except ReplyError as error:
            self.fail(error)
            return
        self._body = body
        if polls:
            self._peek(target)
        elif isinstance(target, LocalTarget) and self._ignores_websocket(target):
            self._peek(target, "ignored websocket requests")
        else:
            self.go(target)

    def _ignores_websocket(self, target: LocalTarget) -> bool:
        return (
            self._exchange.request.upgrade
            and self._snapshot.plan.models[target.model].ignore_websockets
        )

    def resolve(self, name: str) -> Target:
        """Find out what the client means, and whether it may.

        Raises:
            ReplyError: nothing here, or not for this client.
        """
        if len(name) > MOST_NAME:
            raise BadRequestError("the model's name is too long")
        services = self._front.services
        snapshot = self._snapshot
        found = snapshot.names.resolve(name, services.profile, self._take)
        match found:
            case LocalTarget() | PeerTarget():
                self._named(name, found)
                self._check(name, found)
                return found
            case Off():
                raise NotFoundError(NO_MODEL)
            case NoTarget(selector):
                raise UnavailableError(
                    f'selector "{selector}" has no available spillover targets', retry_after=1
                )
            case Unknown():
                self._named(name, None)
                raise NotFoundError(f"{NO_ROUTER}: {name!r}")
            case _ as never:
                assert_never(never)

    def _check(self, name: str, target: Target) -> None:
        if not self._context.identity.may_use(target.model, target.requested):
            raise ForbiddenError(f"this key may not use the model {name!r}")

    def _take(self, selector: str) -> str | None:
        snapshot = self._snapshot
        fleet = self._front.services.fleet
        target = snapshot.selectors.take(selector, lambda t: snapshot.state_of(fleet, t))
        if target is not None:
            self._selected = selector, target
        return target

    def _named(self, name: str, target: Target | None) -> None:
        """Begin the recording: from now on it is known what the request is about."""
        context = self._context
        if not (context.is_recorded or context.is_tracked):
            return
        services = self._front.services
        model = target.model if isinstance(target, LocalTarget) else name
        record = RequestRecord(services, context, self._exchange.request, self._begun, model, name)
        record.stream = self._stream
        self._record = record
        if context.is_tracked and target is not None:
            record.cancel = self.cancel
            services.inflight.add(record)
        if self._selected is not None:
            record.selector = self._selected[0]
