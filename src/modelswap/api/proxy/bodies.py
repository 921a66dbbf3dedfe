"""Reads request bodies that are no plain JSON: their codings, their size, and what is wrong with them.

Guarantees: what the HTTP package reports becomes an error that clients know, in words without paths.
Memory: `BodyCollector` accounts for what it holds at the connection.
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Final, Protocol

from modelswap.api.routing.model_selector import BYTE_ORDER_MARK
from modelswap.deferred import dataclass
from modelswap.errors import (
    BadRequestError,
    BodyTooLargeError,
    ReplyError,
    StorageError,
    UnavailableError,
    UnsupportedCodingError,
)
from modelswap.http import (
    ACCEPTED,
    BadCodingError,
    Fault,
    GrownError,
    UnknownCodingError,
    codings_of,
    decoded,
)
from modelswap.units import Bytes

if TYPE_CHECKING:
    from modelswap.http import BodySource, Exchange, Request, Upload


class BodyReceiver(Protocol):
    def on_body(self, body: bytes) -> None: ...
    def on_stream(self, beginning: bytes, source: BodySource) -> None:
        """Take a large body, which comes while it is sent; `beginning` is what was read of it."""

    def on_form(self, fields: dict[str, bytes]) -> None:
        """Take a form whose model is known; `BodyArrival.form_body` is the body to send."""

    def fail(self, error: ReplyError) -> None: ...


BEGINNING: Final = Bytes(64 << 10)
"""The beginning of a large body that is read to see what it is: one read of the socket."""
_LARGE: Final = Bytes(4 << 20)
"""A larger body is sent while it comes. A smaller one, such as a prompt with a picture, can be sent
a second time and be captured."""
_UNCHARGED: Final = Bytes(128 << 10)
"""The part of a decoded body that is not accounted for, so that a small one costs no call."""


def is_large(exchange: Exchange) -> bool:
    """Tell whether a body is, or may become, too large to be collected without need."""
    length = exchange.body_length
    return length is None or length > _LARGE


def may_be_json(beginning: bytes) -> bool:
    """Tell whether a body of another content type may be a JSON object."""
    return beginning.removeprefix(BYTE_ORDER_MARK).lstrip(b" \t\r\n")[:1] in {b"", b"{"}


def codings_to_remove(request: Request) -> tuple[bytes, ...]:
    """Return the codings of the body, which are taken off on its way."""
    try:
        return codings_of(request.header_values(b"content-encoding")) if request.has_body else ()
    except UnknownCodingError as error:
        raise UnsupportedCodingError(
            f"the request body's Content-Encoding cannot be read here: {str(error)!r}; "
            f"send it without one, or in one of: {ACCEPTED}"
        ) from None


def coding_error(wrong: Exception) -> ReplyError:
    if isinstance(wrong, GrownError):
        return BodyTooLargeError("the request's body is too large")
    return BadRequestError(str(wrong))


def plain_body(request: Request, body: bytes, limit: int) -> bytes:
    """Return the body of a control route without coding and byte order mark."""
    try:
        body = decoded(body, codings_to_remove(request), limit)
    except (BadCodingError, GrownError) as wrong:
        raise coding_error(wrong) from None
    return body.removeprefix(BYTE_ORDER_MARK)


def form_error_of(upload: Upload) -> ReplyError:
    """Return the error for a form that was given up; details of a full disk are for the log only."""
    match upload.fault:
        case Fault.TOO_LARGE:
            return BodyTooLargeError(upload.failure)
        case Fault.NO_ROOM:
            return StorageError(upload.failure)
        case Fault.UNPACKED:
            return BadRequestError(upload.failure)
        case _:
            return BadRequestError(f"could not parse multipart form: {upload.failure}")


@dataclass(slots=True, eq=False)
class BodyCollector:
    """Collects a decoded body, within the bound on all bodies in memory."""

    exchange: Exchange
    receiver: BodyReceiver
    _parts: list[bytes] = field(default_factory=list[bytes], init=False)
    _uncharged: int = field(default=0, init=False)
    _is_full: bool = field(default=False, init=False)

    def on_data(self, data: bytes) -> None:
        if self._is_full:
            return
        self._parts.append(data)
        self._uncharged += len(data)
        if self._uncharged > _UNCHARGED:
            if not self.exchange.hold(self._uncharged):
                self._is_full = True
                self._parts.clear()
                error = UnavailableError("too many large requests at once", retry_after=1)
                self.receiver.fail(error)
            self._uncharged = 0

    def on_end(self) -> None:
        if not self._is_full:
            self.receiver.on_body(b"".join(self._parts))
