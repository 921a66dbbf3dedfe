"""Takes the body of a request that is no plain JSON: coded, a form, or too large to be held.

Guarantees: a large body whose model is known from path or query is not collected in memory. While
the model loads it is not read, and the client waits. The receiver is called once.
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

from modelswap.api.routing.model_selector import may_name_in_query, names_in_query
from modelswap.core.naming.names import LocalTarget
from modelswap.deferred import dataclass
from modelswap.errors import BadRequestError, BodyTooLargeError
from modelswap.http import DecodedStream, ExchangeBody, Fault, OpenedBody, Upload

from .bodies import BEGINNING, BodyCollector, coding_error, form_error_of, is_large, may_be_json

if TYPE_CHECKING:
    from modelswap.api.routing.filters import FormEdits
    from modelswap.api.services import Services
    from modelswap.core.naming.names import Target
    from modelswap.errors import ReplyError
    from modelswap.http import BodySource, BodyStream, Exchange

    from .bodies import BodyReceiver
    from .context import RequestContext


@dataclass(slots=True, eq=False)
class BodyArrival:
    services: Services
    exchange: Exchange
    context: RequestContext
    receiver: BodyReceiver
    _upload: Upload | None = field(default=None, init=False)

    def begin(self) -> None:
        """Start to read; the receiver may be called before this returns."""
        context, exchange = self.context, self.exchange
        if context.named is not None:
            self._begin_named(context.named[1])
            return
        if context.unleased:  # a poll: its body, if it has one, counts for nothing
            exchange.read_body(lambda _: self.receiver.on_body(b""))
            return
        stream: BodyStream = exchange
        if context.codings:
            limit = context.snapshot.plan.settings.limits.body
            stream = DecodedStream(exchange, context.codings, limit=limit, bad=self._on_bad_coding)
        if context.is_form:
            self._begin_form(stream)
        elif context.codings:
            stream.stream_body(self._collector())
        elif (
            is_large(exchange)
            and may_name_in_query(context.request.method, context.kind)
            and names_in_query(exchange.request.query)
        ):
            self._open()
        else:
            exchange.read_body(self.receiver.on_body)

    def form_body(self, edits: FormEdits) -> bytes | BodySource:
        """Return the edited form: its bytes when it is small and complete, else a source."""
        upload = self._upload
        assert upload is not None
        whole = upload.whole(values=edits.values, remove=edits.remove)
        return whole or upload.source(values=edits.values, remove=edits.remove)

    def form_error(self) -> ReplyError | None:
        """Say why the form was given up; `None` when the body is no form."""
        upload = self._upload
        if upload is None:
            return None
        if upload.fault is Fault.NO_ROOM:
            self.services.log.once(
                f"spool {upload.detail}",
                f"a form could not be stored: {upload.detail}; such requests get 507",
            )
        return form_error_of(upload)

    def close(self) -> None:
        if self._upload is not None:
            self._upload.close()

    def _begin_named(self, target: Target) -> None:
        context, exchange, receiver = self.context, self.exchange, self.receiver
        is_large_body = is_large(exchange)
        if not context.request.has_body:
            receiver.on_body(b"")
        elif is_large_body and (isinstance(target, LocalTarget) or self._needs_no_body()):
            if exchange.body_length is None:  # it may turn out to be small
                self._open()
            else:
                receiver.on_stream(b"", ExchangeBody(exchange))
        elif (
            context.is_form
            and not isinstance(target, LocalTarget)
            and not (context.identity.models or context.is_coded)
            and (is_large_body or target.rewrite is not None)
        ):
            self._begin_form(exchange)
        else:
            exchange.read_body(receiver.on_body)

    def _needs_no_body(self) -> bool:
        """Tell whether a body for a peer names no model that has to and can be looked at."""
        context = self.context
        if context.identity.models:
            return False
        return context.is_coded or may_name_in_query(context.request.method, context.kind)

    # Whole bodies

    def _collector(self) -> BodyCollector:
        return BodyCollector(self.exchange, self.receiver)

    def _on_bad_coding(self, wrong: Exception) -> None:
        error = coding_error(wrong)
        if self._upload is None:
            self.receiver.fail(error)
        else:
            fault = Fault.TOO_LARGE if isinstance(error, BodyTooLargeError) else Fault.UNPACKED
            self._upload.give_up(fault, error.text)

    # Large bodies

    def _open(self) -> None:
        body = OpenedBody(
            self.exchange,
            most=BEGINNING,
            known=lambda beginning, whole: self._on_beginning(body, beginning, whole=whole),
        )
        body.begin()

    def _on_beginning(self, body: OpenedBody, beginning: bytes, *, whole: bool) -> None:
        """Go on with all of it where it may be JSON that names a model, else while it comes."""
        context = self.context
        if whole:
            self.receiver.on_body(beginning)
        elif context.named is None and (may_be_json(beginning) or context.identity.models):
            body.start(self._collector())
        else:
            self.receiver.on_stream(beginning, body)

    # Forms

    def _begin_form(self, stream: BodyStream) -> None:
        try:
            self._upload = Upload(
                stream,
                self.context.request.header(b"content-type") or b"",
                known=self.receiver.on_form,
                bad=self._on_bad_form,
                folders=self.services.spool,
            )
        except ValueError as error:
            self.receiver.fail(BadRequestError(str(error)))
            return
        self._upload.begin()

    def _on_bad_form(self, _: str) -> None:
        error = self.form_error()
        assert error is not None
        self.receiver.fail(error)
