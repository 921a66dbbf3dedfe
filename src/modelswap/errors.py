"""The few exceptions that change a reply.

Law: an exception knows whose fault it is (`status`), what it is called (`code`),
what the client may read (`text`), what only the log may (`detail`), and whether
the client should try again (`should_retry`).
It refuses to know how a reply is written; that is `api.envelope`.
"""

from __future__ import annotations

import math
from typing import ClassVar, Final

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
    known = _FAULTS.get(status)
    if known is not None:
        return known
    if 400 <= status < 500:  # noqa: PLR2004 -- the class of client errors
        return "invalid_request_error", "invalid_request"
    return "server_error", "internal_error"


_MENDED_BY_WAITING: Final = frozenset({408, 425, 429})
"""The client errors that another try may not meet again: a slow upload, too many requests."""
_NEVER: Final = frozenset({501, 505, 507})
"""The server errors that it meets again: not implemented here, no room for the upload."""


def retry_hint(status: int, retry_after: float | None) -> bool | None:
    """Say whether the same request may be answered later, by its status and `Retry-After`.

    `None`: nothing is known (a bug, an upstream that failed), so clients keep to their own rules.
    """
    is_client_error = 400 <= status < 500  # noqa: PLR2004 -- the class of client errors
    if status in _NEVER or (is_client_error and status not in _MENDED_BY_WAITING):
        return False
    return None if retry_after is None else True


def retry_fields(
    status: int, retry_after: float | None, *, should_retry: bool | None = None
) -> list[tuple[str, str]]:
    """Write the headers that tell a client whether and when to try again.

    `x-should-retry` goes before every rule of their own in the SDKs of OpenAI and Anthropic.
    """
    hint = retry_hint(status, retry_after) if should_retry is None else should_retry
    fields: list[tuple[str, str]] = []
    if retry_after is not None:
        fields.append(("Retry-After", str(max(1, math.ceil(retry_after)))))
    if hint is not None:
        fields.append(("x-should-retry", "true" if hint else "false"))
    return fields


class ReplyError(Exception):
    """A request ends here, with a reply that the client can act on."""

    status: int = 500
    default_code: ClassVar[str | None] = None

    def __init__(
        self,
        text: str,
        *,
        code: str | None = None,
        detail: str = "",
        retry_after: float | None = None,
        should_retry: bool | None = None,
    ) -> None:
        super().__init__(text)
        self.text = text
        """What the client reads."""
        self.detail = detail
        """What only the log says."""
        self.retry_after = retry_after
        """Seconds; becomes `Retry-After`, rounded up."""
        self.should_retry = should_retry
        """Becomes `x-should-retry`; `None`: as `retry_hint` says."""
        kind, usual = fault_of(self.status)
        self.type = kind
        self.code = code or self.default_code or usual


class BadRequestError(ReplyError):
    status = 400


class UnauthorizedError(ReplyError):
    status = 401


class ForbiddenError(ReplyError):
    status = 403


class NotFoundError(ReplyError):
    status = 404


class MethodNotAllowedError(ReplyError):
    status = 405


class ConflictError(ReplyError):
    status = 409


class BodyTooLargeError(ReplyError):
    status = 413


class UnsupportedCodingError(ReplyError):
    """A body in a `Content-Encoding` that cannot be taken off; the reply names those that can."""

    status = 415
    default_code = "unsupported_content_encoding"


class RateLimitedError(ReplyError):
    status = 429


class ConcurrencyLimitError(ReplyError):
    """Over a model's `concurrencyLimit`. Always told in JSON, as clients expect."""

    status = 429
    default_code = "concurrency_limit"


class CancelledRequestError(ReplyError):
    """Somebody who may ended the request; nginx's number for a request closed early."""

    status = 499


class UpstreamError(ReplyError):
    """No usable answer from a model server or a peer."""

    status = 502


class UnavailableError(ReplyError):
    status = 503


class LoadingError(UnavailableError):
    """A monitor or a readiness probe asks while the model loads. Told as llama-server tells it."""

    default_code = "model_loading"

    def __init__(self, *, retry_after: float) -> None:
        super().__init__("Loading model", retry_after=retry_after)


class LoadFailedError(ReplyError):
    """The model cannot be started now."""

    status = 503
    default_code = "model_load_failed"


class StorageError(ReplyError):
    """A body has to be stored on disk, and cannot be."""

    status = 507
    default_code = "insufficient_storage"


class UpstreamTimeoutError(ReplyError):
    status = 504
