"""The first act of a visit: which model the request means, and whether it may.

The name comes from a body, a form that streams by, a query or the path; pins,
selectors, aliases and peers are `core.names`'. What the model's filters ask for
is edited here, so that the rest of the visit only sends. It refuses to wait and
to send: those are the next acts.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, assert_never

from modelswap.core.names import Local, NoTarget, Off, Peer, Unknown
from modelswap.errors import (
    BadRequestError,
    ForbiddenError,
    NotFoundError,
    ReplyError,
    UnavailableError,
)

from .bodies import MARK
from .dialect import MOST_NAME, NO_MODEL, Source, find, find_in_json, find_in_multipart
from .endings import NO_ROUTER
from .filters import rename_query, rewrite
from .formfilters import FormEdits, form_edits
from .limited import refuse_others, refuse_others_below
from .qualified import made_bare
from .recording import Recording

if TYPE_CHECKING:
    import asyncio

    from modelswap.core.names import Target
    from modelswap.fleet import Server, Ticket
    from modelswap.http import BodySource, Exchange, Outcome, Relay, Upload

    from .filters import Edit
    from .front import Front
    from .loading import Loading
    from .passport import Passport


class Naming:
    """The state of a visit, and its first act."""

    __slots__ = (
        "_begun",
        "_body",
        "_book",
        "_deadline",
        "_ended",
        "_exchange",
        "_form",
        "_front",
        "_holds",
        "_loading",
        "_passport",
        "_path",
        "_position",
        "_query",
        "_recording",
        "_relay",
        "_replied",
        "_retry",
        "_selected",
        "_server",
        "_stream",
        "_target",
        "_ticket",
        "_tries",
        "_upload",
    )

    def __init__(self, front: Front, exchange: Exchange, passport: Passport) -> None:
        self._front = front
        self._passport = passport
        self._book = passport.book
        self._exchange = exchange
        self._begun = monotonic()
        self._path = passport.path
        self._query = exchange.request.query
        self._recording: Recording | None = None
        self._selected: tuple[str, str] | None = None
        self._body: bytes | BodySource = b""
        self._upload: Upload | None = None
        self._form: FormEdits | None = None
        self._stream = False
        self._target: Target | None = None
        self._ticket: Ticket | None = None
        self._server: Server | None = None
        self._holds = False
        self._relay: Relay | None = None
        self._replied = 0
        """Bytes of an answer of our own."""
        self._loading: Loading | None = None
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
        self, error: ReplyError, *headers: tuple[str, str], outcome: Outcome | None = None
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
        passport = self._passport
        try:
            if passport.source is Source.JSON:
                ask = find_in_json(body)
            else:
                if body.startswith(MARK):
                    body = body.removeprefix(MARK)
                ask = find(passport.request.method, passport.kind, self._query, body)
            self._stream = ask.stream
            profile = self._front.house.profile
            if profile is None and (direct := passport.direct.get(ask.model)) is not None:
                self._named(ask.model, direct)
                self._body = body
                self._target = direct
                self._dispatch()
                return
            target = self.resolve(ask.model)
            if passport.identity.models:
                names = self._book.names
                refuse_others(passport.identity, names, ask, query=self._query, body=body)
        except ReplyError as error:
            if body.startswith(MARK) and not body.startswith(MARK, len(MARK)):
                self.on_body(body[len(MARK) :])
            else:
                self.fail(error)
            return
        edit = self._book.edit_of(target)
        if edit is None and target.rewrite is None:
            self._body = body
            if profile is None and self._selected is None and isinstance(target, Local):
                passport.remember(ask.model, target)
        else:
            self._body = self._edited(edit, target, ask.source, body)
        self.go(target)

    def _edited(self, edit: Edit | None, target: Target, source: Source, body: bytes) -> bytes:
        """Return the body as the model gets it; the query may change beside it."""
        made = rewrite(edit, target, source, body, self._query)
        self._query = made.query
        for key in made.failed:
            self._front.house.log.once(
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
            identity, field = self._passport.identity, texts.get("model", "")
            refuse_others(identity, self._book.names, ask, query=self._query, field=field)
        except ReplyError as error:
            self.fail(error)
            return
        rules = self._book.edit_of(target)
        name = target.rewrite
        if ask.source is Source.QUERY and name is not None:
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
            if isinstance(target, Peer) and self._passport.identity.models:
                refuse_others_below(
                    self._passport.identity,
                    self._book.names,
                    method=request.method,
                    kind=self._passport.kind,
                    query=self._query,
                    body=body if isinstance(body, bytes) else b"?",
                )
            if isinstance(target, Peer) and target.rewrite is not None:
                coded = self._passport.is_coded
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
        elif isinstance(target, Local) and self._ignores_websocket(target):
            self._peek(target, "ignored websocket requests")
        else:
            self.go(target)

    def _ignores_websocket(self, target: Local) -> bool:
        return (
            self._exchange.request.upgrade
            and self._book.plan.models[target.model].ignore_websockets
        )

    def resolve(self, name: str) -> Target:
        """Find out what the client means, and whether it may.

        Raises:
            ReplyError: nothing here, or not for this client.
        """
        if len(name) > MOST_NAME:
            raise BadRequestError("the model's name is too long")
        house = self._front.house
        book = self._book
        found = book.names.resolve(name, house.profile, self._take)
        match found:
            case Local() | Peer():
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
        if not self._passport.identity.may_use(target.model, target.requested):
            raise ForbiddenError(f"this key may not use the model {name!r}")

    def _take(self, selector: str) -> str | None:
        book = self._book
        fleet = self._front.house.fleet
        target = book.selectors.take(selector, lambda t: book.state_of(fleet, t))
        if target is not None:
            self._selected = selector, target
        return target

    def _named(self, name: str, target: Target | None) -> None:
        """Begin the recording: from now on it is known what the request is about."""
        passport = self._passport
        if not (passport.is_recorded or passport.is_tracked):
            return
        house = self._front.house
        model = target.model if isinstance(target, Local) else name
        recording = Recording(house, passport, self._exchange.request, self._begun, model, name)
        recording.stream = self._stream
        self._recording = recording
        if passport.is_tracked and target is not None:
            recording.cancel = self.cancel
            house.inflight.enter(recording)
        if self._selected is not None:
            recording.selector = self._selected[0]
