"""Maps what the core or the relay reports to one of the few errors that clients know.

Guarantees: the text holds no command line and no header.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, assert_never

from modelswap.config.schema.schema import KeyScope
from modelswap.core.commands import Fail, Reason
from modelswap.errors import (
    BadRequestError,
    CancelledRequestError,
    ConcurrencyLimitError,
    LoadFailedError,
    NotFoundError,
    PullFailedError,
    ReplyError,
    UnavailableError,
    UpstreamError,
    UpstreamTimeoutError,
)
from modelswap.http import EndReason, RelayResult

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from modelswap.api.auth.identity import Identity

NO_ROUTER: Final = "no router for requested model"
_PASSING: Final = {
    Reason.QUEUE_FULL: ("too many requests are waiting", "queue_full", 1),
    Reason.UNLOADED: ("the model was unloaded while the request waited", "model_unloaded", 1),
    Reason.SHUTTING_DOWN: ("the server is shutting down", None, 5),
}
"""Text, code, and the seconds after which a client may ask again."""


def wait_error(
    failure: Fail, identity: Identity, last_lines: Callable[[], Sequence[str]] = tuple
) -> ReplyError:
    """Say why a wait ended without a lease; *last_lines* returns the end of the server's output.

    The output of a model server, which may hold paths, needs the scope `admin`; names of other models
    are for keys that are not limited to some.
    """
    match failure.reason:
        case Reason.QUEUE_FULL | Reason.UNLOADED | Reason.SHUTTING_DOWN:
            text, code, after = _PASSING[failure.reason]
            return UnavailableError(text, code=code, retry_after=failure.retry_after or after)
        case Reason.LOAD_FAILED | Reason.BACKING_OFF | Reason.PULL_FAILED:
            return _failed(failure, identity, last_lines)
        case Reason.OVER_LIMIT:
            return ConcurrencyLimitError("Too many requests", retry_after=1)
        case Reason.REMOVED | Reason.NO_SUCH_MODEL:
            is_removed = failure.reason is Reason.REMOVED
            return NotFoundError(
                "the model was removed from the configuration" if is_removed else NO_ROUTER
            )
        case Reason.WOULD_SWAP | Reason.NO_ROOM | Reason.NEVER_FITS | Reason.PULL_CANCELLED:
            return _not_loaded(failure, failure.reason, identity)
        case _ as never:
            assert_never(never)


def _not_loaded(
    failure: Fail,
    reason: Literal[Reason.WOULD_SWAP, Reason.NO_ROOM, Reason.NEVER_FITS, Reason.PULL_CANCELLED],
    identity: Identity,
) -> ReplyError:
    """Say why no load was tried; programs of the machine are named to keys that may read."""
    detail = failure.detail
    match reason:
        case Reason.WOULD_SWAP:
            others = "another model" if identity.models else detail
            return UnavailableError(
                f"the model is not loaded, and {others} would have to leave for it; "
                "the request allows no swap",
                code="swap_refused",
                should_retry=False,
            )
        case Reason.NO_ROOM:
            is_told = identity.may(KeyScope.READ) and not identity.models
            why = f": {detail}" if is_told else ""
            return UnavailableError(
                f"there is not enough free memory for the model{why}",
                code="no_room",
                retry_after=failure.retry_after,
            )
        case Reason.PULL_CANCELLED:
            return UnavailableError(
                "the pull of the model was cancelled while the request waited",
                code="pull_cancelled",
                should_retry=False,
            )
        case Reason.NEVER_FITS:
            why = "" if identity.models else f": {detail}"
            return LoadFailedError(f"the model can never be loaded{why}", should_retry=False)
        case _ as never:
            assert_never(never)


def _failed(
    failure: Fail, identity: Identity, last_lines: Callable[[], Sequence[str]]
) -> ReplyError:
    """Say why a pull or a load failed, and whether another try may do better."""
    why, text = failure.failure, failure.detail
    shows_output = identity.may(KeyScope.ADMIN)
    if why is not None:
        text = why.text if shows_output else why.brief
    retry_after, should_retry = failure.retry_after, why is None or not why.is_lasting
    if failure.reason is Reason.PULL_FAILED:
        said = f"the model could not be pulled: {text}"
        return PullFailedError(said, retry_after=retry_after, should_retry=should_retry)
    error = LoadFailedError(
        f"the model could not be loaded: {text}",
        retry_after=retry_after,
        should_retry=should_retry,
    )
    if why is not None and shows_output:
        error.log = tuple(last_lines())
    return error


def cancelled_error() -> ReplyError:
    """Say that a user cancelled the request: no client retries after this status."""
    return CancelledRequestError("the request was cancelled", code="cancelled")


def relay_error(result: RelayResult, *, by_peer: bool = False) -> ReplyError:
    """Say how the upstream failed."""
    text = f"{'peer proxy' if by_peer else 'upstream'} error: {result.detail}"
    match result.reason:
        case EndReason.HEADER_TIMEOUT | EndReason.CONNECT_TIMEOUT | EndReason.STALLED:
            return UpstreamTimeoutError(text)
        case EndReason.UPSTREAM_LOST:
            return UnavailableError(
                "the model was stopped before its answer was complete",
                code="model_unloaded",
                retry_after=1,
            )
        case EndReason.BODY_FAILED:
            return BadRequestError(result.detail)
        case _:
            return UpstreamError(text)
