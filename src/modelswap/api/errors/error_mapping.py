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


def wait_error(
    failure: Fail, identity: Identity, last_lines: Callable[[], Sequence[str]] = tuple
) -> ReplyError:
    """Say why a wait ended without a lease; *last_lines* returns the end of the server's output.

    The output of a model server, which may hold paths, needs the scope `admin`; names of other models
    are for keys that are not limited to some.
    """
    retry_after = failure.retry_after
    match failure.reason:
        case Reason.LOAD_FAILED | Reason.BACKING_OFF:
            return _load_failed(failure, identity, last_lines)
        case Reason.QUEUE_FULL:
            return UnavailableError(
                "too many requests are waiting", code="queue_full", retry_after=retry_after or 1
            )
        case Reason.OVER_LIMIT:
            return ConcurrencyLimitError("Too many requests", retry_after=1)
        case Reason.UNLOADED:
            return UnavailableError(
                "the model was unloaded while the request waited",
                code="model_unloaded",
                retry_after=1,
            )
        case Reason.SHUTTING_DOWN:
            return UnavailableError("the server is shutting down", retry_after=5)
        case Reason.REMOVED | Reason.NO_SUCH_MODEL:
            is_removed = failure.reason is Reason.REMOVED
            return NotFoundError(
                "the model was removed from the configuration" if is_removed else NO_ROUTER
            )
        case Reason.WOULD_SWAP | Reason.NO_ROOM | Reason.NEVER_FITS:
            return _placement_error(failure, failure.reason, identity)
        case _ as never:
            assert_never(never)


def _placement_error(
    failure: Fail,
    reason: Literal[Reason.WOULD_SWAP, Reason.NO_ROOM, Reason.NEVER_FITS],
    identity: Identity,
) -> ReplyError:
    """Say why the model could not be placed; programs of the machine are named to keys that may read."""
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
        case Reason.NEVER_FITS:
            why = "" if identity.models else f": {detail}"
            return LoadFailedError(f"the model can never be loaded{why}", should_retry=False)
        case _ as never:
            assert_never(never)


def _load_failed(
    failure: Fail, identity: Identity, last_lines: Callable[[], Sequence[str]]
) -> ReplyError:
    why, text = failure.failure, failure.detail
    shows_output = identity.may(KeyScope.ADMIN)
    if why is not None:
        text = why.text if shows_output else why.brief
    error = LoadFailedError(
        f"the model could not be loaded: {text}",
        retry_after=failure.retry_after,
        should_retry=why is None or not why.is_lasting,
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
