"""Error responses in the format that the client prefers."""

from __future__ import annotations

import json

import pytest

from modelswap.api.errors.error_responses import (
    error_response,
    response_for,
)
from modelswap.errors import (
    BadRequestError,
    BodyTooLargeError,
    CancelledRequestError,
    ConcurrencyLimitError,
    ConflictError,
    ForbiddenError,
    LoadFailedError,
    MethodNotAllowedError,
    NotFoundError,
    RateLimitedError,
    ReplyError,
    UnauthorizedError,
    UnavailableError,
    UpstreamError,
    UpstreamTimeoutError,
)

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (400, "invalid_request_error", "bad_request"),
        (401, "authentication_error", "unauthorized"),
        (403, "authentication_error", "forbidden"),
        (404, "invalid_request_error", "not_found"),
        (409, "invalid_request_error", "conflict"),
        (413, "invalid_request_error", "invalid_request"),
        (429, "rate_limit_error", "rate_limit_exceeded"),
        (500, "server_error", "internal_error"),
        (502, "server_error", "bad_gateway"),
        (503, "server_error", "service_unavailable"),
        (504, "server_error", "gateway_timeout"),
        (507, "server_error", "internal_error"),
    ],
)
def test_type_and_code(status: int, kind: str, code: str) -> None:
    """Each status has its type and code."""
    reply = error_response(status, "m")
    assert reply.status == status
    assert json.loads(reply.body) == {
        "src": "llama-swap",
        "error": {"message": "m", "type": kind, "param": None, "code": code},
    }
    assert dict(reply.headers)["Content-Type"] == "application/json"


def test_the_bytes_of_llama_swap() -> None:
    """The JSON is compact, in llama-swap's order, and ends without a newline."""
    assert error_response(404, "model not found").body == (
        b'{"src":"llama-swap","error":{"message":"model not found",'
        b'"type":"invalid_request_error","param":null,"code":"not_found"}}'
    )


def test_text_and_html() -> None:
    """Plain text has llama-swap's prefix; HTML is escaped."""
    text = error_response(404, 'no "<b>"', accept="text/plain")
    assert text.body == b'llama-swap: no "<b>"'
    assert dict(text.headers)["Content-Type"].startswith("text/plain")
    page = error_response(404, "<script>alert('x')</script>", accept=BROWSER)
    assert b"<script>" not in page.body
    assert b"<h1>llama-swap</h1><p>&lt;script&gt;" in page.body


def test_no_markup_in_json() -> None:
    """A browser that guesses the type finds no markup; any text can be shown."""
    body = error_response(404, "<img>&\u2028\udcff\u00e9").body
    assert b"<" not in body
    assert b"&" not in body
    assert json.loads(body)["error"]["message"] == "<img>&\u2028?\u00e9"


def test_retry_after() -> None:
    """Whole seconds, rounded up, at least one."""
    assert dict(error_response(503, "m", retry_after=2.1).headers)["Retry-After"] == "3"
    assert dict(error_response(503, "m", retry_after=0).headers)["Retry-After"] == "1"
    assert "Retry-After" not in dict(error_response(503, "m").headers)


def test_errors_know_their_reply() -> None:
    """An exception gives status, code, text and headers; its detail is not shown."""
    reply = response_for(LoadFailedError("it crashed", detail="argv", retry_after=5))
    assert reply.status == 503
    assert json.loads(reply.body)["error"]["code"] == "model_load_failed"
    assert b"argv" not in reply.body
    assert dict(reply.headers)["Retry-After"] == "5"
    assert json.loads(response_for(BadRequestError("m", code="x")).body)["error"]["code"] == "x"


def test_the_limit_is_always_told_in_json() -> None:
    """Over `concurrencyLimit` the answer is JSON whatever was asked for."""
    reply = response_for(
        ConcurrencyLimitError("Too many requests", retry_after=1), accept="text/plain"
    )
    assert json.loads(reply.body)["error"]["code"] == "concurrency_limit"
    assert response_for(NotFoundError("m"), accept="text/plain").body == b"llama-swap: m"


def test_a_missing_key_is_challenged() -> None:
    """401 makes browsers ask for a password, beside other headers."""
    headers = dict(response_for(UnauthorizedError("m"), headers=(("X", "y"),)).headers)
    assert headers["WWW-Authenticate"] == 'Basic realm="llama-swap"'
    assert headers["X"] == "y"


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (UnauthorizedError("x"), "false"),
        (ForbiddenError("x"), "false"),
        (NotFoundError("x"), "false"),
        (MethodNotAllowedError("x"), "false"),
        (BadRequestError("x"), "false"),
        (BodyTooLargeError("x"), "false"),
        (ConflictError("x"), "false"),
        (CancelledRequestError("x"), "false"),
        (RateLimitedError("x", retry_after=1), "true"),
        (ConcurrencyLimitError("x", retry_after=1), "true"),
        (UnavailableError("x", retry_after=1), "true"),
        (LoadFailedError("x", retry_after=1), "true"),
        (LoadFailedError("x", retry_after=1, should_retry=False), "false"),
        (LoadFailedError("x", should_retry=False), "false"),
        (UnavailableError("x"), None),
        (UpstreamError("x"), None),
        (UpstreamTimeoutError("x"), None),
        (ReplyError("x"), None),
    ],
)
def test_whether_to_try_again(error: ReplyError, hint: str | None) -> None:
    """The hint follows from status and `Retry-After`, unless the error knows better."""
    assert dict(response_for(error).headers).get("x-should-retry") == hint
