"""Error responses, in the format that the client prefers.

Guarantees: JSON, unless the `Accept` header prefers HTML or plain text; the message is escaped for
the format that shows it.
"""

from __future__ import annotations

import math
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Final, assert_never

from modelswap.deferred import dataclass
from modelswap.errors import (
    ConcurrencyLimitError,
    LoadingError,
    ReplyError,
    RouterError,
    UnauthorizedError,
    UnsupportedCodingError,
)
from modelswap.http import ACCEPTED

from .error_objects import SOURCE, anthropic_error, fault_of, llama_error, openai_error
from .negotiation import ErrorFormat, preferred_format

if TYPE_CHECKING:
    from collections.abc import Sequence

CHALLENGE: Final = f'Basic realm="{SOURCE}"'
LOADING: Final = b'{"error":{"message":"Loading model","type":"unavailable_error","code":503}}'
"""The body of llama-server while it loads; probes and launchers know it."""

_TEMPORARY: Final = frozenset({408, 425, 429})
"""Client errors that a later request may not meet again: a slow upload, too many requests."""
_LASTING: Final = frozenset({501, 505, 507})
"""Server errors that it meets again: not implemented here, no room for the upload."""


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def retry_fields(
    status: int, retry_after: float | None, *, should_retry: bool | None = None
) -> list[tuple[str, str]]:
    """Write the headers that tell a client whether and when to try again.

    `x-should-retry` goes before every rule of their own in the SDKs of OpenAI and Anthropic. Without
    it (a bug, an upstream that failed) they follow these.
    """
    is_client_error = 400 <= status < 500  # noqa: PLR2004 -- the class of client errors
    is_lasting = status in _LASTING or (is_client_error and status not in _TEMPORARY)
    if should_retry is None and (is_lasting or retry_after is not None):
        should_retry = not is_lasting
    fields: list[tuple[str, str]] = []
    if retry_after is not None:
        fields.append(("Retry-After", str(max(1, math.ceil(retry_after)))))
    if should_retry is not None:
        fields.append(("x-should-retry", "true" if should_retry else "false"))
    return fields


def _body(media: ErrorFormat, message: str, kind: str, code: str, log: Sequence[str] = ()) -> bytes:
    match media:
        case ErrorFormat.JSON:
            return openai_error(message, kind, code, log)
        case ErrorFormat.TEXT:
            return "\n".join((f"{SOURCE}: {message}", *log)).encode("utf-8", "replace")
        case ErrorFormat.HTML:
            from html import escape  # noqa: PLC0415 - with what it imports, a millisecond of the start

            shown = escape(message)
            lines = f"<pre>{escape(chr(10).join(log))}</pre>" if log else ""
            page = f"<html><body><h1>{SOURCE}</h1><p>{shown}</p>{lines}</body></html>"
            return page.encode("utf-8", "replace")
        case _ as never:
            assert_never(never)


def error_response(
    status: int,
    message: str,
    *,
    accept: str | None = None,
    code: str | None = None,
    retry_after: float | None = None,
    should_retry: bool | None = None,
    headers: tuple[tuple[str, str], ...] = (),
    anthropic: bool = False,
    log: Sequence[str] = (),
) -> ErrorResponse:
    """Write one error; where it is JSON and *anthropic*, it has the shape of Anthropic's API.

    *log*: the last lines of a model server's output.
    """
    kind, usual = fault_of(status)
    code = code or usual
    media = preferred_format(accept)
    charset = "" if media is ErrorFormat.JSON else "; charset=utf-8"
    lines = [("Content-Type", media.value + charset), ("X-Content-Type-Options", "nosniff")]
    lines += retry_fields(status, retry_after, should_retry=should_retry)
    body = _body(media, message, kind, code, log)
    if anthropic:
        request_id = f"req_{os.urandom(12).hex()}"
        lines.append(("Request-Id", request_id))
        if media is ErrorFormat.JSON:
            body = anthropic_error(
                status, message, code, request_id, should_retry=should_retry, log=log
            )
    return ErrorResponse(status, (*lines, *headers), body)


def response_for(
    error: ReplyError,
    *,
    accept: str | None = None,
    headers: tuple[tuple[str, str], ...] = (),
    anthropic: bool = False,
) -> ErrorResponse:
    if isinstance(error, LoadingError):
        response = error_response(
            error.status, error.text, retry_after=error.retry_after, headers=headers
        )
        return replace(response, body=LOADING)
    if isinstance(error, RouterError):
        response = error_response(error.status, error.text, headers=headers)
        return replace(response, body=llama_error(error.status, error.text, error.kind))
    if isinstance(error, ConcurrencyLimitError):
        accept = None
    if isinstance(error, UnauthorizedError):
        headers = (*headers, ("WWW-Authenticate", CHALLENGE))
    if isinstance(error, UnsupportedCodingError):
        headers = (*headers, ("Accept-Encoding", ACCEPTED))
    return error_response(
        error.status,
        error.text,
        accept=accept,
        code=error.code,
        retry_after=error.retry_after,
        should_retry=error.should_retry,
        headers=headers,
        anthropic=anthropic,
        log=error.log,
    )
