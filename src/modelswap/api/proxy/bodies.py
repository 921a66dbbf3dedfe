"""Reads request bodies that are no plain JSON: their codings, their size, and what is wrong with them.

Guarantees: what the HTTP package reports becomes an error that clients know, in words without paths.
Memory: `BodyCollector` accounts for what it holds at the connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from modelswap.api.routing.model_selector import BYTE_ORDER_MARK
from modelswap.errors import (
    BadRequestError,
    BodyTooLargeError,
    ReplyError,
    StorageError,
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
    from collections.abc import Callable

    from modelswap.http import Exchange, Request, Upload

BEGINNING: Final = Bytes(64 << 10)
"""The beginning of a large body that is read to see what it is: one read of the socket."""
_LARGE: Final = Bytes(4 << 20)
"""A larger body is sent while it comes. A smaller one, such as a prompt with a picture, can be sent
a second time and be captured."""
_TOO_LARGE: Final = "the request's body is too large"
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
    """Return the codings of the body, which are taken off on its way.

    Raises:
        UnsupportedCodingError: a coding that cannot be taken off.
    """
    try:
        return codings_of(request.header_values(b"content-encoding")) if request.has_body else ()
    except UnknownCodingError as error:
        raise UnsupportedCodingError(
            f"the request body's Content-Encoding cannot be read here: {str(error)!r}; "
            f"send it without one, or in one of: {ACCEPTED}"
        ) from None


def coding_error(wrong: Exception) -> ReplyError:
    """Return the error for a coded body that cannot be decoded."""
    if isinstance(wrong, GrownError):
        return BodyTooLargeError(_TOO_LARGE)
    return BadRequestError(str(wrong))


def plain_body(request: Request, body: bytes, limit: int) -> bytes:
    """Return the body of a control route without coding and byte order mark.

    Raises:
        ReplyError: it cannot be read.
    """
    codings = codings_to_remove(request)
    try:
        body = decoded(body, codings, limit)
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


class BodyCollector:
    """Collects a decoded body, within the bound on all bodies in memory."""

    def __init__(
        self, exchange: Exchange, *, done: Callable[[bytes], None], full: Callable[[], None]
    ) -> None:
        """`full` is called once, instead of `done`, when there is no room."""
        self._exchange = exchange
        self._done = done
        self._full = full
        self._parts: list[bytes] = []
        self._uncharged = 0
        self._is_full = False

    def on_data(self, data: bytes) -> None:
        if self._is_full:
            return
        self._parts.append(data)
        self._uncharged += len(data)
        if self._uncharged > _UNCHARGED:
            if not self._exchange.hold(self._uncharged):
                self._is_full = True
                self._parts.clear()
                self._full()
            self._uncharged = 0

    def on_end(self) -> None:
        if not self._is_full:
            self._done(b"".join(self._parts))
