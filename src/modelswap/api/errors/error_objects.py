"""The JSON objects of errors: of OpenAI's API, of Anthropic's and of llama-server's.

Guarantees: no object holds markup that a browser could run, whatever the message holds.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

SOURCE: Final = "llama-swap"
"""Clients and dashboards of llama-swap look for this name."""
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
_FAULTS: Final = {
    400: ("invalid_request_error", "bad_request"),
    401: ("authentication_error", "unauthorized"),
    403: ("authentication_error", "forbidden"),
    404: ("invalid_request_error", "not_found"),
    409: ("invalid_request_error", "conflict"),
    429: ("rate_limit_error", "rate_limit_exceeded"),
    502: ("server_error", "bad_gateway"),
    503: ("server_error", "service_unavailable"),
    504: ("server_error", "gateway_timeout"),
}


def fault_of(status: int) -> tuple[str, str]:
    """Give the `type` and `code` that a status has when nothing better is known."""
    is_client_error = 400 <= status < 500  # noqa: PLR2004 -- the class of client errors
    usual = ("invalid_request_error", "invalid_request")
    return _FAULTS.get(status, usual if is_client_error else ("server_error", "internal_error"))


def openai_error(message: str, kind: str, code: str, log: Sequence[str] = ()) -> bytes:
    """Write the error object that OpenAI clients read, on one line; *log*: see `details_of`."""
    error = {"message": message, "type": kind, "param": None, "code": code}
    return _document({"src": SOURCE, "error": error | details_of(log)})


def details_of(log: Sequence[str]) -> dict[str, object]:
    """Write the last lines of a model server's output, as a member of an error; none without lines."""
    return {"details": {"log": [*log]}} if log else {}


def llama_error(status: int, message: str, kind: str) -> bytes:
    """Write the error object of llama-server: its `code` is the status."""
    return _document({"error": {"code": status, "message": message, "type": kind}})


def anthropic_type(status: int, *, should_retry: bool | None = None) -> str:
    """Give the `type` that Anthropic's API has for a status.

    Claude Code retries every `overloaded_error`, before it looks at `x-should-retry`: an error that a
    retry cannot change has another type.
    """
    known = _ANTHROPIC.get(status)
    if known is not None and not (known == _OVERLOADED and should_retry is False):
        return known
    return "invalid_request_error" if 400 <= status < 500 else "api_error"  # noqa: PLR2004 -- the class of client errors


def anthropic_error(
    status: int,
    message: str,
    code: str,
    request_id: str,
    *,
    should_retry: bool | None = None,
    log: Sequence[str] = (),
) -> bytes:
    """Write the error object that Anthropic's clients read, with our code in it."""
    kind = anthropic_type(status, should_retry=should_retry)
    error = {"type": kind, "message": message, "code": code} | details_of(log)
    return _document({"type": "error", "error": error, "request_id": request_id, "src": SOURCE})


def _document(document: dict[str, object]) -> bytes:
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    # A browser that guesses the type must not find markup in it.
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text.encode("utf-8", "replace")
