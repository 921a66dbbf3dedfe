"""What one request is told about its keys."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from modelswap.api.auth.authentication import has_same_identity, identify
from modelswap.api.auth.identity import ANONYMOUS
from modelswap.api.auth.keys import KeyAuthenticator
from modelswap.api.hosts.trusted_proxies import TrustedProxies
from modelswap.config.plan import ApiKey, Secret
from modelswap.config.schema.schema import KeyScope

if TYPE_CHECKING:
    from modelswap.api.auth.identity import Identity
    from modelswap.api.auth.keys import ValidKeys

NO_PROXIES = TrustedProxies()
KEYS = KeyAuthenticator(
    [
        ApiKey(name="slow", key=Secret("s"), rate_limit=1),
        ApiKey(name="reader", key=Secret("r"), scopes=frozenset({"read"})),
    ]
)


def identified(
    key: bytes | None, scope: KeyScope | None = KeyScope.INFERENCE, now: float = 0.0
) -> tuple[Identity, ValidKeys]:
    fields = {} if key is None else {b"x-api-key": key}
    request: Any = SimpleNamespace(
        client="9.9.9.9",
        index=fields,
        upgrade=False,
        header_values=lambda name: [fields[name]] if name in fields else [],
    )
    return identify(request, scope, KEYS, NO_PROXIES, now)


@pytest.mark.parametrize(("key", "status"), [(None, 401), (b"no", 401), (b"r", 403)])
def test_a_request_without_the_right_is_told_so(key: bytes | None, status: int) -> None:
    """401 without a valid key, 403 without the scope."""
    with pytest.raises(Exception, match="key") as caught:
        identified(key)
    assert vars(type(caught.value))["status"] == status


def test_an_open_route_needs_no_key() -> None:
    """The keys are not even looked at."""
    assert identified(b"no", None) == (ANONYMOUS, ())


def test_without_keys_every_caller_may_do_everything() -> None:
    """No keys configured: no check."""
    request: Any = None
    found = identify(request, KeyScope.ADMIN, KeyAuthenticator([]), NO_PROXIES, 0.0)
    assert found == (ANONYMOUS, ())
    assert ANONYMOUS.may(KeyScope.ADMIN)
    assert ANONYMOUS.may_use("anything")


def test_an_equal_request_counts_for_the_rate() -> None:
    """It has the same identity until the rate of the key is used up."""
    identity, keys = identified(b"s", now=1000.0)
    assert has_same_identity(KEYS, keys, identity, 1060.0)
    with pytest.raises(Exception, match="too many requests"):
        has_same_identity(KEYS, keys, identity, 1061.0)
