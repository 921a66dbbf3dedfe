"""Error replies: one envelope, in the form that the client prefers.

Law: JSON, unless the `Accept` header prefers HTML or plain text; the message is
escaped for the form it is shown in. It refuses to log and to decide what failed.
"""

from __future__ import annotations

import html
import json
import math
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache
from secrets import token_hex
from typing import Final, assert_never

from modelswap.errors import (
    ConcurrencyLimitError,
    LoadingError,
    ReplyError,
    UnauthorizedError,
    UnsupportedCodingError,
    fault_of,
    retry_fields,
)
from modelswap.http import ACCEPTED

SOURCE: Final = "llama-swap"
"""Clients and dashboards of the original look for this name."""
CHALLENGE: Final = f'Basic realm="{SOURCE}"'
_OVERLOADED: Final = "overloaded_error"
_ANTHROPIC: Final = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: _OVERLOADED,
    504: "timeout_error",
}
_EXACT, _SUBTYPE, _ANY = 2, 1, 0


class Form(Enum):
    JSON = "application/json"
    TEXT = "text/plain"
    HTML = "text/html"


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """Ready to be sent; `Content-Length` is the sender's business."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                quality = float(value)
            except ValueError:
                return 0.0
            return min(max(quality, 0.0), 1.0) if math.isfinite(quality) else 0.0
    return 1.0


def _specificity(pattern: str, form: Form) -> int | None:
    if pattern == form.value:
        return _EXACT
    if pattern == form.value.partition("/")[0] + "/*":
        return _SUBTYPE
    return _ANY if pattern == "*/*" else None


def _preference(ranges: list[tuple[str, float]], form: Form) -> float:
    """Return the quality that the most specific matching range gives, 0 without any."""
    best, quality = -1, 0.0
    for pattern, q in ranges:
        specificity = _specificity(pattern, form)
        if specificity is not None and specificity > best:
            best, quality = specificity, q
    return quality


@lru_cache(maxsize=256)
def preferred_format(accept: str | None) -> Form:
    """Choose by proper negotiation; ties and nothing acceptable mean JSON."""
    if not accept:
        return Form.JSON
    ranges: list[tuple[str, float]] = []
    for entry in accept.split(","):
        pattern, *parameters = entry.split(";")
        ranges.append((pattern.strip().lower(), _quality(parameters)))
    chosen, best = Form.JSON, _preference(ranges, Form.JSON)
    for form in (Form.TEXT, Form.HTML):
        quality = _preference(ranges, form)
        if quality > best:
            chosen, best = form, quality
    return chosen


def openai_error(message: str, kind: str, code: str) -> bytes:
    """Write the error object that OpenAI clients read, on one line."""
    return _document(
        {
            "src": SOURCE,
            "error": {"message": message, "type": kind, "param": None, "code": code},
        }
    )


def anthropic_type(status: int, *, should_retry: bool | None = None) -> str:
    """Give the `type` that Anthropic's API has for a status.

    Claude Code tries again whatever calls itself overloaded, before it looks at `x-should-retry`:
    what another try cannot mend is not called so.
    """
    known = _ANTHROPIC.get(status)
    if known is not None and not (known == _OVERLOADED and should_retry is False):
        return known
    return "invalid_request_error" if 400 <= status < 500 else "api_error"  # noqa: PLR2004 -- the class of client errors


def anthropic_error(
    status: int, message: str, code: str, request_id: str, *, should_retry: bool | None = None
) -> bytes:
    """Write the error object that Anthropic's clients read, with our code in it."""
    kind = anthropic_type(status, should_retry=should_retry)
    return _document(
        {
            "type": "error",
            "error": {"type": kind, "message": message, "code": code},
            "request_id": request_id,
            "src": SOURCE,
        }
    )


def _document(document: dict[str, object]) -> bytes:
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    # A browser that guesses the type must not find markup in it.
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text.encode("utf-8", "replace")


LOADING: Final = b'{"error":{"message":"Loading model","type":"unavailable_error","code":503}}'
"""What llama-server answers while it loads; probes and launchers know it."""


def _body(form: Form, message: str, kind: str, code: str) -> bytes:
    match form:
        case Form.JSON:
            return openai_error(message, kind, code)
        case Form.TEXT:
            return f"{SOURCE}: {message}".encode("utf-8", "replace")
        case Form.HTML:
            shown = html.escape(message)
            page = f"<html><body><h1>{SOURCE}</h1><p>{shown}</p></body></html>"
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
) -> ErrorResponse:
    """Write one error. `code` defaults to the one that the status has, as do the hints to retry.

    *anthropic*: where it is JSON, it has the shape of Anthropic's API.
    """
    kind, usual = fault_of(status)
    form = preferred_format(accept)
    charset = "" if form is Form.JSON else "; charset=utf-8"
    lines = [("Content-Type", form.value + charset), ("X-Content-Type-Options", "nosniff")]
    lines += retry_fields(status, retry_after, should_retry=should_retry)
    body = _body(form, message, kind, code or usual)
    if anthropic:
        request_id = f"req_{token_hex(12)}"
        lines.append(("Request-Id", request_id))
        if form is Form.JSON:
            body = anthropic_error(
                status, message, code or usual, request_id, should_retry=should_retry
            )
    return ErrorResponse(status, (*lines, *headers), body)


def response_for(
    error: ReplyError,
    *,
    accept: str | None = None,
    headers: tuple[tuple[str, str], ...] = (),
    anthropic: bool = False,
) -> ErrorResponse:
    """Write the reply that an exception asks for."""
    if isinstance(error, LoadingError):
        made = error_response(
            error.status, error.text, retry_after=error.retry_after, headers=headers
        )
        return replace(made, body=LOADING)
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
    )
