"""Whose request it is: the keys that it carries, judged for its route.

Raises what the client is told: 401 without a right key, 403 without the scope, 429 beyond a rate.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, assert_never

from modelswap.config.plan import KeyScope
from modelswap.errors import ForbiddenError, RateLimitedError, UnauthorizedError

from .auth import (
    ANONYMOUS,
    UNAUTHORIZED,
    Identity,
    MissingScope,
    RequestTime,
    Throttled,
    Unauthenticated,
)
from .client_identity import address_of
from .credentials import keys_of

if TYPE_CHECKING:
    from modelswap.api.proxy.context import RequestContext
    from modelswap.api.snapshot import ConfigSnapshot
    from modelswap.http import Request

    from .auth import ValidKeys, Verdict


def identify(
    request: Request, scope: KeyScope | None, snapshot: ConfigSnapshot, now: float
) -> tuple[Identity, ValidKeys]:
    """Return who asks, and what `is_still` has to judge; `now` is monotonic.

    Raises:
        ReplyError: the request may not have this scope now.
    """
    if snapshot.authenticator.is_open or scope is None:
        return ANONYMOUS, ()
    verdict, valid_keys = snapshot.authenticator.check(
        keys_of(request),
        scope,
        address=lambda: address_of(request, snapshot.proxies),
        moment=_moment(now),
    )
    return _identity(verdict), valid_keys


def has_same_identity(context: RequestContext, now: float) -> bool:
    """Judge the keys of an equal request again; False: they stand for another identity now.

    Raises:
        ReplyError: the request may not have this scope now.
    """
    verdict = context.snapshot.authenticator.authorize(
        context.valid_keys, KeyScope.INFERENCE, _moment(now)
    )
    return _identity(verdict) is context.identity


def _moment(now: float) -> RequestTime:
    return RequestTime(now, time.time())  # noqa: TID251 - keys expire by the calendar


def _identity(verdict: Verdict) -> Identity:
    match verdict:
        case Identity():
            return verdict
        case Unauthenticated():
            raise UnauthorizedError(UNAUTHORIZED)
        case MissingScope(scope):
            raise ForbiddenError(f"this key lacks the scope {scope.value!r}")
        case Throttled(reason, retry_after):
            raise RateLimitedError(reason, retry_after=retry_after)
        case _ as never:
            assert_never(never)
