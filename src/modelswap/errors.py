"""The exceptions that end a request with a response that the client can act on.

`api.errors` writes the response.
"""

from __future__ import annotations

from typing import ClassVar


class ReplyError(Exception):
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
        self.text = text  # the client reads it
        self.detail = detail  # only the log says it
        self.retry_after = retry_after  # seconds
        self.should_retry = should_retry  # None: as the status says
        self.code = code or self.default_code  # None: the one that the status has
        self.log: tuple[str, ...] = ()  # the last lines of a model server's output, for an admin


class BadRequestError(ReplyError):
    status = 400


class RouterError(ReplyError):
    """An error of llama.cpp's router: its clients read llama-server's error object."""

    def __init__(
        self, status: int, text: str, kind: str = "invalid_request_error", *, detail: str = ""
    ) -> None:
        self.status = status
        super().__init__(text, detail=detail)
        self.kind = kind


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
    """A body in a `Content-Encoding` that cannot be decoded; the response names those that can."""

    status = 415
    default_code = "unsupported_content_encoding"


class RateLimitedError(ReplyError):
    status = 429


class ConcurrencyLimitError(ReplyError):
    """Over a model's `concurrencyLimit`. The response is always JSON, as clients expect."""

    status = 429
    default_code = "concurrency_limit"


class CancelledRequestError(ReplyError):
    """A user cancelled the request; nginx's number for a request closed early."""

    status = 499


class UpstreamError(ReplyError):
    """No usable response from a model server or a peer."""

    status = 502


class UnavailableError(ReplyError):
    status = 503


class LoadingError(UnavailableError):
    """A probe came while the model loads. The response is the one of llama-server."""

    default_code = "model_loading"

    def __init__(self, *, retry_after: float) -> None:
        super().__init__("Loading model", retry_after=retry_after)


class LoadFailedError(ReplyError):
    """The model cannot be started now."""

    status = 503
    default_code = "model_load_failed"


class PullFailedError(ReplyError):
    """The files of the model cannot be pulled now."""

    status = 503
    default_code = "pull_failed"


class StorageError(ReplyError):
    """A body has to be stored on disk, and cannot be."""

    status = 507
    default_code = "insufficient_storage"


class UpstreamTimeoutError(ReplyError):
    status = 504
