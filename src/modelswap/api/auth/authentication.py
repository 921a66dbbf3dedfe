"""Authenticates one request: 401 without a valid key, 403 without the scope, 429 beyond a rate."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from modelswap.config.schema.schema import KeyScope

from .client_identity import address_of
from .credentials import keys_of
from .identity import ANONYMOUS, Identity
from .keys import KeyAuthenticator, RequestTime, ValidKeys

if TYPE_CHECKING:
    from modelswap.api.hosts.trusted_proxies import TrustedProxies
    from modelswap.http import Request


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
    return authenticator.authenticate(
        keys_of(request), scope, address=lambda: address_of(request, proxies), at=_at(now)
    )


def has_same_identity(
    authenticator: KeyAuthenticator, keys: ValidKeys, identity: Identity, now: float
) -> bool:
    """Authorize the keys of an equal request for inference again; raises as `identify` does."""
    return authenticator.authorize(keys, KeyScope.INFERENCE, _at(now)) is identity


def _at(now: float) -> RequestTime:
    return RequestTime(now, time.time())  # noqa: TID251 - keys expire by the calendar
