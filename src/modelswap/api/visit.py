"""One request to a model, from its body to its last byte.

A `Visit` is the request's state and, in turn, the waiter for its lease and the
watcher of its relay: one object, plain callbacks, no task. For a model that is
ready, the whole way from the parsed request to the bytes on the upstream's
socket is one call.

Whatever happens, a visit ends exactly once, in `_end`: the lease is given back
and the recording is closed.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final, assert_never

from modelswap.core.lifecycle import Phase
from modelswap.core.names import Local, NoTarget, Off, Peer, Unknown
from modelswap.core.room import Reason
from modelswap.errors import (
    BadRequestError,
    ConcurrencyLimitError,
    ConflictError,
    ForbiddenError,
    LoadFailedError,
    NotFoundError,
    ReplyError,
    UnavailableError,
    UpstreamError,
    UpstreamTimeoutError,
)
from modelswap.http import Ending, relay
from modelswap.http.upload import Upload
from modelswap.observe.failure import describe

from .dialect import MOST_NAME, NO_MODEL, Source, find, find_in_json, find_in_multipart
from .filters import rename_query, rewrite
from .formfilters import FormEdits, form_edits
from .limited import refuse_others, refuse_others_below
from .loading import Loading, announced_timeout, before
from .qualified import made_bare
from .recording import Recording
from .voice import error_event, voice_of

if TYPE_CHECKING:
    import asyncio

    from modelswap.core.names import Target
    from modelswap.core.spec import Seconds
    from modelswap.fleet import Server, Ticket
    from modelswap.http import BodySource, Exchange, Outcome, Relay, ResponseHead, Upstream

    from .filters import Edit
    from .front import Front
    from .passport import Passport
    from .voice import Voice

RETRIES: Final = 3
"""How often a request is tried again whose server died before the request had begun."""
RETRY_PAUSE: Final = 0.05
"""Seconds until then; doubles. Enough for the news of the server's exit to arrive."""
ASK_AGAIN: Final = 5.0
"""Seconds until a client that could not wait may ask again, when nothing better is known."""
ASK_AGAIN_BY: Final = 60.0
"""Clients give up when they are told to wait much longer than this."""
CLIENT_CLOSED: Final = 499
BAD_REQUEST: Final = 400
STATE_PATH: Final = "/v1/chat/completions"
"""The only one on which `sendLoadingState` has an effect."""
DONE: Final = Ending.DONE
CLIENT_GONE: Final = Ending.CLIENT_GONE
_ORDERLY: Final = frozenset({Ending.DONE, Ending.CLIENT_GONE, Ending.CANCELLED})
_ENDINGS: Final = {ending: ending.name.lower() for ending in Ending}
_UNBEGUN: Final = frozenset({Ending.CONNECT_FAILED, Ending.CONNECT_TIMEOUT, Ending.UPSTREAM_LOST})
"""There was no connection, so nothing was sent: with `never_ran`."""
NO_ROUTER: Final = "no router for requested model"


class Visit:
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

    # Which model

    def on_body(self, body: bytes) -> None:
        """Go on with the whole body."""
        passport = self._passport
        try:
            if passport.source is Source.JSON:
                ask = find_in_json(body)
            else:
                ask = find(passport.request.method, passport.kind, self._query, body)
            self._stream = ask.stream
            target = self.resolve(ask.model)
            if passport.identity.models:
                names = self._book.names
                refuse_others(passport.identity, names, ask, query=self._query, body=body)
        except ReplyError as error:
            self.fail(error)
            return
        edit = self._book.edit_of(target)
        if edit is None and target.rewrite is None:
            self._body = body
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

    def on_form(self, kind: bytes) -> None:
        """Find the model in a form while it streams by."""
        try:
            self._upload = Upload(
                self._exchange, kind, known=self._on_fields, bad=self._on_bad_form
            )
        except ValueError as error:
            self.fail(BadRequestError(str(error)))
            return
        self._upload.begin()

    def _on_bad_form(self, text: str) -> None:
        self.fail(BadRequestError(f"could not parse multipart form: {text}"))

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

    def pass_through(self, name: str, target: Target, body: bytes, *, polls: bool = False) -> None:
        """Send the request on as it is; the path said which model."""
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
                    body=body,
                )
            if isinstance(target, Peer) and target.rewrite is not None:
                kind = request.header(b"content-type")
                made = made_bare(target, request.method, kind, self._query, body)
                body, self._query = made.body, made.query
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

    def _peek(self, target: Target, what: str = "polls") -> None:
        """Use a ready server without a lease: it may leave in the middle."""
        self._target = target
        if isinstance(target, Peer):
            self._send(self._book.remotes[target.peer].upstream)
            return
        fleet = self._front.house.fleet
        server = fleet.server(target.model)
        if server is None or fleet.phase(target.model) is not Phase.READY:
            self.fail(ConflictError(f"model {target.model} is not loaded; {what} cannot start it"))
            return
        self._tries = RETRIES
        self._send(server.upstream)

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
        recording = Recording(house, passport, self._begun, model, name)
        recording.stream = self._stream
        self._recording = recording
        if passport.is_tracked and target is not None:
            recording.cancel = self.cancel
            house.inflight.enter(recording)
        if self._selected is not None:
            recording.selector = self._selected[0]

    # A turn

    def go(self, target: Target) -> None:
        """Get a lease, or wait for one."""
        self._target = target
        if isinstance(target, Peer):
            self._send(self._book.remotes[target.peer].upstream)
            return
        self._dispatch()

    def _dispatch(self) -> None:
        target = self._target
        assert isinstance(target, Local)
        fleet = self._front.house.fleet
        passport = self._passport
        if not passport.background:
            server = fleet.lease_now(target.model, passport.client)
            if server is not None:
                self._granted(server)
                return
        self._exchange.on_gone = self._left
        ticket = fleet.ask(
            target.model,
            self,
            client=passport.client,
            background=passport.background,
            watched=self._shows_state(),
        )
        if self._ended or self._holds:
            return
        self._ticket = ticket
        self._while_waiting()

    def _shows_state(self) -> bool:
        target = self._target
        assert isinstance(target, Local)
        house = self._front.house
        return (
            self._stream
            and self._book.plan.models[target.model].send_loading_state
            and self._exchange.request.path == STATE_PATH
            and house.fleet.phase(target.model) is not Phase.READY
        )

    def _while_waiting(self) -> None:
        if self._loading is not None:
            self._loading.resume()
            return
        patience = announced_timeout(self._exchange.request.header)
        voice = voice_of(self._path) if self._stream else None
        if voice is not None:
            self._keep_alive(voice, patience)
        elif patience is not None and self._deadline is None:
            self._wait_no_longer_than(patience)

    def _keep_alive(self, voice: Voice, patience: float | None) -> None:
        """Keep a client that streams waiting, however long it takes."""
        target = self._target
        assert isinstance(target, Local)
        front = self._front
        settings = self._book.plan.settings
        grace: float = settings.loading_grace
        pulse: float = settings.loading_pulse
        if patience is not None:
            grace, pulse = min(grace, before(patience)), min(pulse, patience / 2)
        waited = monotonic() - self._begun
        self._loading = Loading(
            self._exchange,
            front.loop,
            voice=voice,
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
        assert isinstance(target, Local)
        left = before(patience) - (monotonic() - self._begun)
        needed = self._front.house.fleet.load_time_left(target.model)
        if needed is not None and needed > left:
            left = 0.0
        self._deadline = self._front.loop.call_later(max(0.0, left), self._out_of_patience)

    def on_granted(self, server: Server) -> None:
        self._ticket = None
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if self._loading is not None:
            self._loading.finish()
        self._granted(server, int((monotonic() - self._begun) * 1000))

    def _granted(self, server: Server, waited_ms: int = 0) -> None:
        self._holds = True
        self._server = server
        recording = self._recording
        if recording is not None:
            recording.queue_ms = waited_ms
            recording.priority = server.model.priority
        if self._ended:  # the client left while the grant was on its way
            self._release()
            return
        try:
            self._send(server.upstream)
        except Exception as bug:  # noqa: BLE001 - a border: a bug must not keep the lease for ever
            self.fail(ReplyError("internal error", detail=repr(bug)))

    def on_refused(self, reason: Reason, detail: str, retry_after: Seconds | None) -> None:
        self._ticket = None
        self.fail(refusal(reason, detail, retry_after))

    def on_position(self, position: int) -> None:
        self._position = position
        if self._loading is not None:
            self._loading.on_position(position)

    def _out_of_patience(self) -> None:
        self._deadline = None
        ticket, self._ticket = self._ticket, None
        target = self._target
        assert isinstance(target, Local)
        fleet = self._front.house.fleet
        needed = fleet.load_time_left(target.model)
        if ticket is not None:
            fleet.leave(ticket)
        after = ASK_AGAIN if needed is None else min(max(needed, 1.0), ASK_AGAIN_BY)
        self.fail(
            UnavailableError(
                "the model is still loading; ask again", code="model_loading", retry_after=after
            ),
            ("x-should-retry", "true"),
        )

    # The answer

    def _send(self, upstream: Upstream) -> None:
        target = self._target
        book = self._book
        if isinstance(target, Peer):
            remote = book.remotes[target.peer]
            keeps = remote.peer.forward_authorization
        else:
            assert target is not None
            remote = None
            keeps = book.plan.models[target.model].forward_authorization
        outbound = self._passport.outbound(
            upstream, self._query, remote, keeps=keeps, begun=self._exchange.started
        )
        if self._upload is not None and self._form is not None:
            self._body = self._upload.source(values=self._form.values, remove=self._form.remove)
        recording = self._recording
        if recording is not None:
            body = self._body
            if isinstance(body, bytes):
                recording.sending(body, len(body))
            else:
                recording.sending(b"", self._passport.request.content_length or 0)
        self._relay = relay(self._exchange, upstream, outbound, self._body, self)

    def on_head(self, head: ResponseHead) -> None:
        if self._recording is not None:
            self._recording.on_head(head)

    def on_data(self, data: bytes) -> None:
        if self._recording is not None:
            self._recording.on_data(data)

    def on_whole(self, head: ResponseHead, data: bytes) -> None:
        if self._recording is not None:
            self._recording.on_whole(head, data)

    def on_late_error(self, status: int, content_type: bytes, body: bytes) -> bytes:
        """Put an answer that is no stream into the one that was already open for the keep-alives."""
        voice = voice_of(self._path)
        if status < BAD_REQUEST:
            kind = content_type.decode("latin-1") or "no content type"
            return error_event(
                voice, 502, f"the upstream answered {status} with {kind}, not events"
            )
        return error_event(voice, status, describe(status, body))

    def error_event(self, outcome: Outcome) -> bytes | None:
        error = broken(outcome)
        return error_event(voice_of(self._path), error.status, error.text, error.code)

    def on_end(self, outcome: Outcome) -> None:
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
        if ending is Ending.CANCELLED:
            self._end(outcome)
            self._exchange.abort()
            return
        if self._may_retry(outcome):
            self._exchange.on_gone = self._left
            self._retry_later(outcome)
            return
        self.fail(broken(outcome), outcome=outcome)

    def _may_retry(self, outcome: Outcome) -> bool:
        if self._upload is not None and not (outcome.never_ran and outcome.ending in _UNBEGUN):
            return False  # a part of the body is used up
        return (
            (outcome.never_ran or outcome.was_reset)
            and isinstance(self._target, Local)
            and self._tries < RETRIES
            and not self._exchange.finished
        )

    def _retry_later(self, outcome: Outcome) -> None:
        delay = RETRY_PAUSE * 2**self._tries
        self._tries += 1
        self._retry = self._front.loop.call_later(delay, self._again, outcome)

    def _again(self, outcome: Outcome) -> None:
        """Ask anew, when it is certain now that the request had not begun."""
        self._retry = None
        if outcome.never_ran or self._is_dead():
            self._dispatch()
        elif self._tries < RETRIES:
            self._retry_later(outcome)
        else:
            self.fail(broken(outcome), outcome=outcome)

    def _is_dead(self) -> bool:
        """Whether the server that had the request has exited meanwhile."""
        target = self._target
        assert isinstance(target, Local)
        return self._front.house.fleet.server(target.model) is not self._server

    def _report_stall(self, outcome: Outcome) -> None:
        server = self._server
        if server is not None and outcome.ending in {Ending.HEADER_TIMEOUT, Ending.STALLED}:
            self._front.house.fleet.stalled(server, outcome.detail)

    # Endings

    def fail(
        self,
        error: ReplyError,
        *headers: tuple[str, str],
        outcome: Outcome | None = None,
    ) -> None:
        """Answer with an error, in whatever form the client can still read."""
        if self._ended:
            return
        if self._loading is not None:
            self._loading.finish(failed=True)
        exchange = self._exchange
        if exchange.started:
            if not exchange.finished:
                voice = voice_of(self._path)
                exchange.end(error_event(voice, error.status, error.text, error.code))
        else:
            self._replied = self._front.send_error(exchange, error, headers)
        if error.detail:
            self._front.house.log.warning(f"{error.text}: {error.detail}")
        if self._recording is not None:
            self._recording.replied(error.status)
        self._end(outcome, error=error)

    def cancel(self) -> None:
        """End it because somebody who may has said so."""
        if self._relay is not None:
            self._relay.cancel()
            return
        self._drop_ticket()
        self._end(None, status=CLIENT_CLOSED)
        self._exchange.abort()

    def _left(self) -> None:
        """The client has gone while nothing was on its way."""
        self._drop_ticket()
        self._end(None, status=CLIENT_CLOSED)

    def _drop_ticket(self) -> None:
        ticket, self._ticket = self._ticket, None
        if ticket is not None:
            self._front.house.fleet.cancel(ticket)

    def _release(self) -> None:
        if self._holds:
            self._holds = False
            target = self._target
            assert isinstance(target, Local)
            self._front.house.fleet.release(target.model)

    def _end(
        self,
        outcome: Outcome | None,
        *,
        status: int | None = None,
        error: ReplyError | None = None,
    ) -> None:
        if self._ended:
            return
        self._ended = True
        for timer in (self._deadline, self._retry):
            if timer is not None:
                timer.cancel()
        if self._loading is not None:
            self._loading.finish()
        if self._upload is not None:
            self._upload.close()
        if self._selected is not None:
            self._book.selectors.release(*self._selected)
        self._release()
        self._write_down(outcome, status, error)

    def _write_down(
        self, outcome: Outcome | None, status: int | None, error: ReplyError | None
    ) -> None:
        recording = self._recording
        passport = self._passport
        now = monotonic()
        sent = self._replied
        ending = "cancelled" if error is None else "refused"
        if outcome is not None:
            sent += outcome.bytes_sent
            ending = _ENDINGS[outcome.ending]
            if outcome.ending is CLIENT_GONE:
                status = CLIENT_CLOSED
            elif error is None and outcome.ending not in _ORDERLY:
                error = broken(outcome)  # the status is out already; the row shall tell
        if recording is not None:
            recording.end(ending, now, status=status, error="" if error is None else error.text)
        self._front.house.access_line(
            passport.before,
            status or self._exchange.status,
            sent,
            passport.after,
            now - self._begun,
        )


def refusal(reason: Reason, detail: str, retry_after: Seconds | None) -> ReplyError:
    """Say to a client why its wait ended without a turn."""
    match reason:
        case Reason.LOAD_FAILED | Reason.BACKING_OFF:
            return LoadFailedError(
                f"the model could not be loaded: {detail}", retry_after=retry_after
            )
        case Reason.QUEUE_FULL:
            return UnavailableError(
                "too many requests are waiting", code="queue_full", retry_after=retry_after or 1
            )
        case Reason.OVER_LIMIT:
            return ConcurrencyLimitError("Too many requests", retry_after=1)
        case Reason.UNLOADED:
            return UnavailableError(
                "the model was unloaded while the request waited",
                code="model_unloaded",
                retry_after=1,
            )
        case Reason.SHUTTING_DOWN:
            return UnavailableError("the server is shutting down", retry_after=5)
        case Reason.REMOVED:
            return NotFoundError("the model was removed from the configuration")
        case Reason.NO_SUCH_MODEL:
            return NotFoundError(NO_ROUTER)
        case Reason.NEVER_FITS:
            return LoadFailedError(f"the model can never be loaded: {detail}")
        case _ as never:
            assert_never(never)


def broken(outcome: Outcome) -> ReplyError:
    """Say to a client what became of the upstream."""
    if outcome.ending in {Ending.HEADER_TIMEOUT, Ending.CONNECT_TIMEOUT, Ending.STALLED}:
        return UpstreamTimeoutError(f"the upstream did not answer in time: {outcome.detail}")
    if outcome.ending is Ending.UPSTREAM_LOST:
        return UnavailableError(
            "the model was stopped before its answer was complete",
            code="model_unloaded",
            retry_after=1,
        )
    if outcome.ending is Ending.BODY_FAILED:
        return BadRequestError(outcome.detail)
    return UpstreamError(f"upstream error: {outcome.detail}")
