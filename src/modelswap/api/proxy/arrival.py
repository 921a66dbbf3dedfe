"""How the body of a visit arrives: decoded, as a form that streams by, or too large to be held.

Guarantees: a body whose model is known from path or query is not gathered in memory when it is
large; while the model loads it is not read, and the client waits.
Does not: look at plain JSON, which comes whole and needs nothing of this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelswap.api.routing.filters import rename_query
from modelswap.api.routing.form_filters import form_edits
from modelswap.api.routing.model_selector import find, may_name_in_query, names_in_query
from modelswap.core.naming.names import LocalTarget
from modelswap.errors import BadRequestError, BodyTooLargeError, ReplyError, UnavailableError
from modelswap.http import DecodedStream, ExchangeBody, Fault, OpenedBody, Upload

from .bodies import PEEKED, Collected, is_large, may_be_json, refusal_of, refusal_of_form
from .naming import Naming

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelswap.core.naming.names import Target
    from modelswap.http import BodyStream


class Arrival(Naming):
    """A visit that can take every kind of body."""

    __slots__ = ()

    def on_other_body(self) -> None:
        """Go on with a body that is coded, a form, or of another type."""
        context, exchange = self._context, self._exchange
        stream: BodyStream = exchange
        if context.codings:
            limit = self._snapshot.plan.settings.limits.body
            stream = DecodedStream(exchange, context.codings, limit=limit, bad=self._on_bad_coding)
        if context.is_form:
            self._on_form(stream, self._on_fields)
        elif context.codings:
            stream.stream_body(self._collected())
        elif (
            is_large(exchange)
            and may_name_in_query(context.request.method, context.kind)
            and names_in_query(self._query)
        ):
            opened = OpenedBody(
                exchange,
                most=PEEKED,
                known=lambda beginning, whole: self._on_beginning(opened, beginning, whole=whole),
            )
            opened.begin()
        else:
            exchange.read_body(self.on_body)

    def _collected(self) -> Collected:
        return Collected(self._exchange, done=self.on_body, full=self._on_full)

    def _on_full(self) -> None:
        self.fail(UnavailableError("too many large requests at once", retry_after=1))

    def _on_bad_coding(self, wrong: Exception) -> None:
        error = refusal_of(wrong)
        if self._upload is None:
            self.fail(error)
        else:
            fault = Fault.TOO_LARGE if isinstance(error, BodyTooLargeError) else Fault.UNPACKED
            self._upload.give_up(fault, error.text)

    def _on_beginning(self, opened: OpenedBody, beginning: bytes, *, whole: bool) -> None:
        """Go on with a large body: with all of it where it may be JSON, else while it comes."""
        request = self._context.request
        if whole:
            self.on_body(beginning)
            return
        if may_be_json(beginning) or self._context.identity.models:
            opened.start(self._collected())
            return
        try:
            ask = find(request.method, self._context.kind, self._query, beginning)
            self._stream = ask.stream
            target = self.resolve(ask.model)
        except ReplyError as error:
            self.fail(error)
            return
        if target.rewrite is not None:
            self._query = rename_query(self._query, target.rewrite)
        self._body = opened
        self.go(target)

    def _on_form(self, stream: BodyStream, known: Callable[[dict[str, bytes]], None]) -> None:
        """Find the model in a form while it streams by."""
        try:
            self._upload = Upload(
                stream,
                self._context.request.header(b"content-type") or b"",
                known=known,
                bad=self._on_bad_form,
                folders=self._front.services.spool,
            )
        except ValueError as error:
            self.fail(BadRequestError(str(error)))
            return
        self._upload.begin()

    def _on_bad_form(self, _: str) -> None:
        self.fail(self._form_error())

    def _form_error(self) -> ReplyError:
        upload = self._upload
        assert upload is not None
        if upload.fault is Fault.NO_ROOM:
            self._front.services.log.once(
                f"spool {upload.detail}",
                f"a form could not be stored: {upload.detail}; such requests get 507",
            )
        return refusal_of_form(upload)

    def pass_on(self, name: str, target: Target, *, polls: bool = False) -> None:
        """Send the request on as it is, a large body while it comes; the path said which model."""
        exchange = self._exchange
        context = self._context
        if not context.request.has_body:
            self.pass_through(name, target, b"", polls=polls)
        elif is_large(exchange) and (isinstance(target, LocalTarget) or self._needs_no_body()):
            if exchange.body_length is None:  # it may turn out to be small
                body = OpenedBody(
                    exchange,
                    most=PEEKED,
                    known=lambda all_, whole: self.pass_through(
                        name, target, all_ if whole else body
                    ),
                )
                body.begin()
            else:
                self.pass_through(name, target, ExchangeBody(exchange))
        elif is_large(exchange) and context.is_form and not context.identity.models:
            self._on_form(exchange, lambda fields: self._pass_form(name, target, fields))
        else:
            exchange.read_body(lambda body: self.pass_through(name, target, body))

    def _pass_form(self, name: str, target: Target, fields: dict[str, bytes]) -> None:
        """Send a form on to a peer, which knows its model by the bare name."""
        is_qualified = fields.get("model") == target.requested.encode()
        bare = target.rewrite if is_qualified else None
        self._form = form_edits(None, requested=target.requested, rename=bare)
        self.pass_through(name, target, b"")

    def _needs_no_body(self) -> bool:
        """Whether the body of a request to a peer names no model that has to and can be looked at."""
        context = self._context
        if context.identity.models:
            return False
        return context.is_coded or may_name_in_query(context.request.method, context.kind)
