"""Keys of requests, and the identities that they give."""

from __future__ import annotations

import hashlib

import pytest

from modelswap.api.auth.failed_attempts import FailedAttempts
from modelswap.api.auth.identity import Identity
from modelswap.api.auth.keys import KeyAuthenticator, RequestTime
from modelswap.config.plan import ApiKey, Secret
from modelswap.config.schema.schema import KeyScope
from modelswap.errors import ForbiddenError, RateLimitedError, ReplyError, UnauthorizedError


def result_of(
    authenticator: KeyAuthenticator,
    *keys: bytes,
    scope: KeyScope = KeyScope.INFERENCE,
    now: float = 0.0,
    wall: float = 0.0,
    address: str = "1.1.1.1",
) -> Identity | ReplyError:
    at = RequestTime(now, wall)
    try:
        return authenticator.authenticate(keys, scope, address=lambda: address, at=at)[0]
    except ReplyError as error:
        return error


def is_throttled(result: Identity | ReplyError, text: str, retry_after: float) -> bool:
    assert isinstance(result, RateLimitedError)
    return result.text == text and result.retry_after == retry_after


ALICE = ApiKey(name="alice", key=Secret("k1"))


@pytest.mark.parametrize("keys", [(b"k1",), (b"no", b"k1"), (b"k1", b"no"), (b"a", b"b", b"k1")])
def test_a_valid_key(keys: tuple[bytes, ...]) -> None:
    """Any valid key is enough, whatever stands beside it; authorized again it has the same identity."""
    authenticator = KeyAuthenticator([ApiKey(name="alice", key=Secret("k1"), rate_limit=100)])
    at = RequestTime(0.0, 0.0)
    first, valid_keys = authenticator.authenticate(keys, KeyScope.READ, address=lambda: "x", at=at)
    assert isinstance(first, Identity)
    assert first.name == "alice"
    assert authenticator.authorize(valid_keys, KeyScope.READ, at) is first


def test_a_key_without_end_and_rate_is_not_authorized_again() -> None:
    """A key without end and rate is looked up once for equal requests of one configuration."""
    at = RequestTime(0.0, 0.0)
    found, valid_keys = KeyAuthenticator([ALICE]).authenticate(
        (b"k1",), KeyScope.READ, address=lambda: "x", at=at
    )
    assert isinstance(found, Identity)
    assert valid_keys == ()


@pytest.mark.parametrize("keys", [(), (b"K1",), (b"k1 ",), (b"wrong", b"k2"), (b"\xff\x00",)])
def test_a_wrong_key(keys: tuple[bytes, ...]) -> None:
    """Anything but the exact key is refused."""
    assert isinstance(result_of(KeyAuthenticator([ALICE]), *keys), UnauthorizedError)


def test_which_of_several_valid_keys_counts() -> None:
    """The first that has the scope and no list of models, else the first that has the scope."""
    authenticator = KeyAuthenticator(
        [
            ApiKey(name="reader", key=Secret("r"), scopes=frozenset({"read"})),
            ApiKey(name="some", key=Secret("s"), models=("a",)),
            ApiKey(name="other", key=Secret("o"), models=("b",)),
            ApiKey(name="all", key=Secret("f")),
            ApiKey(name="old", key=Secret("e"), expires="1970-01-01T00:00:10Z"),
        ]
    )

    def name(*keys: bytes, scope: KeyScope = KeyScope.INFERENCE) -> str:
        found = result_of(authenticator, *keys, scope=scope, wall=20.0)
        assert isinstance(found, Identity)
        return found.name

    assert name(b"r", b"s", b"f") == "all"
    assert name(b"r", b"s", b"o") == "some"
    assert name(b"e", b"o") == "other"
    assert name(b"r", b"s", scope=KeyScope.READ) == "reader"
    assert isinstance(result_of(authenticator, b"r", b"e", wall=20.0), ForbiddenError)
    assert isinstance(result_of(authenticator, b"no", b"e", wall=20.0), UnauthorizedError)


def test_hashed_keys() -> None:
    """A key may be configured as its digest."""
    digest = hashlib.sha256(b"k9").hexdigest().upper()
    authenticator = KeyAuthenticator(
        [ApiKey(name="h", key_hash=f"sha256:{digest}"), ApiKey(name="none")]
    )
    assert isinstance(result_of(authenticator, b"k9"), Identity)
    assert isinstance(result_of(authenticator, digest.lower().encode()), UnauthorizedError)


def test_no_key_is_kept() -> None:
    """Neither the table nor its representation shows a key."""
    authenticator = KeyAuthenticator([ALICE])
    assert "k1" not in repr(authenticator._records)
    assert "k1" not in repr(vars(authenticator))


@pytest.mark.parametrize("expires", ["1970-01-01T00:01:40Z", "1970-01-01T00:01:40"])
def test_expiry(expires: str) -> None:
    """A key ends at its time, also when it was used before."""
    authenticator = KeyAuthenticator([ApiKey(name="e", key=Secret("k"), expires=expires)])
    assert isinstance(result_of(authenticator, b"k", wall=99.9), Identity)
    assert isinstance(result_of(authenticator, b"k", wall=100.0), UnauthorizedError)


def test_rate_limit() -> None:
    """A minute's worth at once, then one for each part of a minute."""
    authenticator = KeyAuthenticator([ApiKey(name="r", key=Secret("k"), rate_limit=2)])
    results = [result_of(authenticator, b"k", now=1000.0) for _ in range(3)]
    assert [type(v) for v in results] == [Identity, Identity, RateLimitedError]
    assert is_throttled(results[2], "too many requests for this key", 30)
    assert isinstance(result_of(authenticator, b"k", now=1029.0), RateLimitedError)
    assert isinstance(result_of(authenticator, b"k", now=1031.0), Identity)
    assert isinstance(result_of(authenticator, b"k", now=1031.0), RateLimitedError)


def test_guessing_becomes_slow() -> None:
    """After ten wrong keys an address has to wait, longer each time; others do not."""
    authenticator = KeyAuthenticator([ALICE])
    for _ in range(FailedAttempts.FREE):
        assert isinstance(result_of(authenticator, b"no"), UnauthorizedError)
    assert isinstance(result_of(authenticator, b"no"), UnauthorizedError)
    assert is_throttled(result_of(authenticator, b"no", now=0.5), "too many wrong API keys", 0.5)
    assert isinstance(
        result_of(authenticator, b"no", now=0.5, address="2.2.2.2"), UnauthorizedError
    )
    assert isinstance(result_of(authenticator, b"no", now=1.0), UnauthorizedError)
    assert is_throttled(result_of(authenticator, b"no", now=1.0), "too many wrong API keys", 2)


def test_a_valid_key_is_never_throttled() -> None:
    """Wrong keys from an address reject no valid key from there, and it does not end their pause."""
    authenticator = KeyAuthenticator([ALICE])
    for _ in range(50):
        result_of(authenticator, b"no")
    assert isinstance(result_of(authenticator, b"no"), RateLimitedError)
    assert isinstance(result_of(authenticator, b"k1"), Identity)
    assert isinstance(result_of(authenticator, b"no", b"k1"), Identity)
    assert isinstance(result_of(authenticator, b"no"), RateLimitedError)
    assert isinstance(result_of(authenticator), UnauthorizedError)
