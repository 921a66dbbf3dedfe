"""Authenticates one request by its keys.

The errors are 401 without a valid key, 403 without the scope, 429 beyond a rate.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, assert_never

from modelswap.config.plan import KeyScope
from modelswap.errors import ForbiddenError, RateLimitedError, UnauthorizedError

from .client_identity import address_of
from .credentials import keys_of
from .identity import ANONYMOUS, Identity
from .keys import MissingScope, RequestTime, Throttled, Unauthenticated

if TYPE_CHECKING:
    from modelswap.api.hosts.trusted_proxies import TrustedProxies
    from modelswap.http import Request

    from .keys import AuthResult, KeyAuthenticator, ValidKeys

UNAUTHORIZED: Final = "unauthorized: invalid or missing API key"


def identify(
    request: Request,
    scope: KeyScope | None,
    authenticator: KeyAuthenticator,
    proxies: TrustedProxies,
    now: float,
) -> tuple[Identity, ValidKeys]:
    """Return the identity, and the keys for `has_same_identity`; `now` is monotonic.

    Raises:
        ReplyError: the request may not have this scope now.
    """
    if authenticator.is_open or scope is None:
        return ANONYMOUS, ()
    result, valid_keys = authenticator.authenticate(
        keys_of(request),
        scope,
        address=lambda: address_of(request, proxies),
        at=_at(now),
    )
    return _identity_of(result), valid_keys


def has_same_identity(
    authenticator: KeyAuthenticator, keys: ValidKeys, identity: Identity, now: float
) -> bool:
    """Authorize the keys of an equal request for inference again.

    Raises:
        ReplyError: the request may not have this scope now.
    """
    result = authenticator.authorize(keys, KeyScope.INFERENCE, _at(now))
    return _identity_of(result) is identity


def _at(now: float) -> RequestTime:
    return RequestTime(now, time.time())  # noqa: TID251 - keys expire by the calendar


def _identity_of(result: AuthResult) -> Identity:
    match result:
        case Identity():
            return result
        case Unauthenticated():
            raise UnauthorizedError(UNAUTHORIZED)
        case MissingScope(scope):
            raise ForbiddenError(f"this key lacks the scope {scope.value!r}")
        case Throttled(reason, retry_after):
            raise RateLimitedError(reason, retry_after=retry_after)
        case _ as never:
            assert_never(never)
