"""Keys, and what their holders may do."""

from __future__ import annotations

import hashlib

import pytest

from modelswap.api.auth.auth import (
    ANONYMOUS,
    FailedAttempts,
    Identity,
    KeyAuthenticator,
    MissingScope,
    RequestTime,
    Throttled,
    Unauthenticated,
    Verdict,
)
from modelswap.config.plan import ApiKey, KeyScope, Secret


def ask(
    access: KeyAuthenticator,
    *keys: bytes,
    scope: KeyScope = KeyScope.INFERENCE,
    now: float = 0.0,
    wall: float = 0.0,
    address: str = "1.1.1.1",
) -> Verdict:
    return access.check(keys, scope, address=lambda: address, moment=RequestTime(now, wall))[0]


ALICE = ApiKey(name="alice", key=Secret("k1"))


def test_without_keys_everyone_may_everything() -> None:
    """No keys configured: no check."""
    access = KeyAuthenticator([])
    assert access.is_open
    assert ask(access, b"whatever") is ANONYMOUS
    assert ANONYMOUS.may(KeyScope.ADMIN)
    assert ANONYMOUS.may_use("anything")


@pytest.mark.parametrize("keys", [(b"k1",), (b"no", b"k1"), (b"k1", b"no"), (b"a", b"b", b"k1")])
def test_a_right_key(keys: tuple[bytes, ...]) -> None:
    """Any right key lets in, whatever stands beside it; judged again it is the same identity."""
    access = KeyAuthenticator([ApiKey(name="alice", key=Secret("k1"), rate_limit=100)])
    moment = RequestTime(0.0, 0.0)
    first, valid_keys = access.check(keys, KeyScope.READ, address=lambda: "x", moment=moment)
    assert isinstance(first, Identity)
    assert first.name == "alice"
    assert access.authorize(valid_keys, KeyScope.READ, moment) is first


def test_what_cannot_change_is_not_judged_again() -> None:
    """A key without end and rate is looked up once for equal requests of one configuration."""
    moment = RequestTime(0.0, 0.0)
    found, valid_keys = KeyAuthenticator([ALICE]).check(
        (b"k1",), KeyScope.READ, address=lambda: "x", moment=moment
    )
    assert isinstance(found, Identity)
    assert valid_keys == ()


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ((), "missing"),
        ((b"K1",), "wrong"),
        ((b"k1 ",), "wrong"),
        ((b"wrong", b"k2"), "wrong"),
        ((b"\xff\x00",), "wrong"),
    ],
)
def test_a_wrong_key(keys: tuple[bytes, ...], reason: str) -> None:
    """Anything but the exact key is refused."""
    assert ask(KeyAuthenticator([ALICE]), *keys) == Unauthenticated(reason)


def test_which_of_several_right_keys_counts() -> None:
    """The first that has the scope and no list of models, else the first that has the scope."""
    access = KeyAuthenticator(
        [
            ApiKey(name="reader", key=Secret("r"), scopes=frozenset({"read"})),
            ApiKey(name="some", key=Secret("s"), models=("a",)),
            ApiKey(name="other", key=Secret("o"), models=("b",)),
            ApiKey(name="all", key=Secret("f")),
            ApiKey(name="old", key=Secret("e"), expires="1970-01-01T00:00:10Z"),
        ]
    )

    def name(*keys: bytes, scope: KeyScope = KeyScope.INFERENCE) -> str:
        found = ask(access, *keys, scope=scope, wall=20.0)
        assert isinstance(found, Identity)
        return found.name

    assert name(b"r", b"s", b"f") == "all"
    assert name(b"r", b"s", b"o") == "some"
    assert name(b"e", b"o") == "other"
    assert name(b"r", b"s", scope=KeyScope.READ) == "reader"
    assert ask(access, b"r", b"e", wall=20.0) == MissingScope(KeyScope.INFERENCE)
    assert ask(access, b"no", b"e", wall=20.0) == Unauthenticated("expired")


def test_hashed_keys() -> None:
    """A key may be configured as its digest."""
    digest = hashlib.sha256(b"k9").hexdigest().upper()
    access = KeyAuthenticator([ApiKey(name="h", key_hash=f"sha256:{digest}"), ApiKey(name="none")])
    assert isinstance(ask(access, b"k9"), Identity)
    assert ask(access, digest.lower().encode()) == Unauthenticated("wrong")


def test_no_key_is_kept() -> None:
    """Neither the table nor its representation shows a key."""
    access = KeyAuthenticator([ALICE])
    assert "k1" not in repr(access._records)
    assert "k1" not in repr(vars(access))


@pytest.mark.parametrize("expires", ["1970-01-01T00:01:40Z", "1970-01-01T00:01:40"])
def test_expiry(expires: str) -> None:
    """A key ends at its time, also when it was used before."""
    access = KeyAuthenticator([ApiKey(name="e", key=Secret("k"), expires=expires)])
    assert isinstance(ask(access, b"k", wall=99.9), Identity)
    assert ask(access, b"k", wall=100.0) == Unauthenticated("expired")


def test_rate_limit() -> None:
    """A minute's worth at once, then one for each part of a minute."""
    access = KeyAuthenticator([ApiKey(name="r", key=Secret("k"), rate_limit=2)])
    verdicts = [ask(access, b"k", now=1000.0) for _ in range(3)]
    assert [type(v) for v in verdicts] == [Identity, Identity, Throttled]
    assert verdicts[2] == Throttled("too many requests for this key", 30.0)
    assert isinstance(ask(access, b"k", now=1029.0), Throttled)
    assert isinstance(ask(access, b"k", now=1031.0), Identity)
    assert isinstance(ask(access, b"k", now=1031.0), Throttled)


def test_scopes() -> None:
    """`admin` holds everything; the others only themselves."""
    reader = Identity("r", frozenset({"read"}))
    assert [reader.may(s) for s in KeyScope] == [False, True, False]
    assert Identity("a", frozenset({"admin"})).may(KeyScope.INFERENCE)


def test_model_patterns() -> None:
    """Patterns match any name by which the model is known, and case matters."""
    identity = Identity("m", models=("llama-*", "x/y"))
    assert identity.may_use("llama-3")
    assert identity.may_use("other", "llama-3")
    assert not identity.may_use("Llama-3", "x")


def test_guessing_becomes_slow() -> None:
    """After ten wrong keys an address has to wait, longer each time; others do not."""
    access = KeyAuthenticator([ALICE])
    for _ in range(FailedAttempts.FREE):
        assert ask(access, b"no") == Unauthenticated("wrong")
    assert ask(access, b"no") == Unauthenticated("wrong")
    assert ask(access, b"no", now=0.5) == Throttled("too many wrong API keys", 0.5)
    assert ask(access, b"no", now=0.5, address="2.2.2.2") == Unauthenticated("wrong")
    assert ask(access, b"no", now=1.0) == Unauthenticated("wrong")
    assert ask(access, b"no", now=1.0) == Throttled("too many wrong API keys", 2.0)


def test_a_right_key_is_never_slowed() -> None:
    """Wrong keys from an address shut out no right key from there, and it does not end their pause."""
    access = KeyAuthenticator([ALICE])
    for _ in range(50):
        ask(access, b"no")
    assert isinstance(ask(access, b"no"), Throttled)
    assert isinstance(ask(access, b"k1"), Identity)
    assert isinstance(ask(access, b"no", b"k1"), Identity)
    assert isinstance(ask(access, b"no"), Throttled)
    assert ask(access) == Unauthenticated("missing")


def test_failures_are_forgiven_and_bounded() -> None:
    """A long time ends the count; the table never grows beyond its bound."""
    failures = FailedAttempts()
    for _ in range(30):
        failures.on_failure("a", 0.0)
    assert failures.wait("a", 0.0) == FailedAttempts.LONGEST
    assert failures.wait("a", 61.0) == 0.0
    failures.on_failure("a", 700.0)
    assert failures.wait("a", 700.0) == 0.0
    for n in range(FailedAttempts.ADDRESSES + 10):
        failures.on_failure(str(n), 0.0)
    assert len(failures._seen) == FailedAttempts.ADDRESSES
