"""Keys, and what their holders may do."""

from __future__ import annotations

import base64
import hashlib

import pytest

from modelswap.api.access import (
    ANYONE,
    Access,
    Denied,
    Failures,
    Identity,
    SlowDown,
    Verdict,
    key_of,
)
from modelswap.config.plan import ApiKey, Secret


def basic(text: str) -> bytes:
    return b"Basic " + base64.b64encode(text.encode())


def ask(
    access: Access,
    authorization: bytes | None = None,
    x_api_key: bytes | None = None,
    *,
    now: float = 0.0,
    wall: float = 0.0,
    address: str = "1.1.1.1",
) -> Verdict:
    return access.check(authorization, x_api_key, address=address, now=now, wall=wall)


ALICE = ApiKey(name="alice", key=Secret("k1"))


@pytest.mark.parametrize(
    ("authorization", "x_api_key", "key"),
    [
        (None, None, None),
        (b"Bearer k1", None, b"k1"),
        (b"bEARER k1", b"k2", b"k1"),
        (b"Bearer wrong", b"k1", b"wrong"),
        (b"Bearer a b", None, b"a b"),
        (b"Bearer ", b"k1", b"k1"),
        (b"Bearer", b"k1", b"k1"),
        (b"Token x", b"k1", b"k1"),
        (basic("user:k1"), None, b"k1"),
        (basic("k:1:2"), None, b"1:2"),
        (basic("nocolon"), b"k1", b"k1"),
        (b"Basic !!!", b"k1", b"k1"),
        (basic(":"), None, None),
        (None, b"", None),
    ],
)
def test_where_the_key_is(
    authorization: bytes | None, x_api_key: bytes | None, key: bytes | None
) -> None:
    """Basic password, else Bearer, else `x-api-key`; a key in the first is the only candidate."""
    assert key_of(authorization, x_api_key) == key


def test_without_keys_everyone_may_everything() -> None:
    """No keys configured: no check."""
    access = Access([])
    assert access.is_open
    assert ask(access, b"Bearer whatever") is ANYONE
    assert ANYONE.may("admin")
    assert ANYONE.may_use("anything")


@pytest.mark.parametrize(
    "headers", [(b"Bearer k1", None), (None, b"k1"), (basic("x:k1"), None), (basic("x:k1"), b"no")]
)
def test_a_right_key(headers: tuple[bytes | None, bytes | None]) -> None:
    """A key opens in every transport, the second time too."""
    access = Access([ALICE])
    first = ask(access, *headers)
    assert isinstance(first, Identity)
    assert first.name == "alice"
    assert ask(access, *headers) is first


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ((None, None), "missing"),
        ((b"Bearer K1", None), "wrong"),
        ((b"Bearer k1 ", None), "wrong"),
        ((b"Bearer wrong", b"k1"), "wrong"),
        ((None, b"\xff\x00"), "wrong"),
    ],
)
def test_a_wrong_key(headers: tuple[bytes | None, bytes | None], reason: str) -> None:
    """Anything but the exact key is refused."""
    assert ask(Access([ALICE]), *headers) == Denied(reason)


def test_hashed_keys() -> None:
    """A key may be configured as its digest."""
    digest = hashlib.sha256(b"k9").hexdigest().upper()
    access = Access([ApiKey(name="h", key_hash=f"sha256:{digest}"), ApiKey(name="none")])
    assert isinstance(ask(access, b"Bearer k9"), Identity)
    assert ask(access, f"Bearer {digest.lower()}".encode()) == Denied("wrong")


def test_no_key_is_kept() -> None:
    """Neither the table nor its representation shows a key."""
    access = Access([ALICE])
    assert "k1" not in repr(access._records)
    assert "k1" not in repr(vars(access))


@pytest.mark.parametrize("expires", ["1970-01-01T00:01:40Z", "1970-01-01T00:01:40"])
def test_expiry(expires: str) -> None:
    """A key ends at its time, also when it was used before."""
    access = Access([ApiKey(name="e", key=Secret("k"), expires=expires)])
    assert isinstance(ask(access, b"Bearer k", wall=99.9), Identity)
    assert ask(access, b"Bearer k", wall=100.0) == Denied("expired")


def test_rate_limit() -> None:
    """A minute's worth at once, then one for each part of a minute."""
    access = Access([ApiKey(name="r", key=Secret("k"), rate_limit=2)])
    verdicts = [ask(access, b"Bearer k", now=1000.0) for _ in range(3)]
    assert [type(v) for v in verdicts] == [Identity, Identity, SlowDown]
    assert verdicts[2] == SlowDown("too many requests for this key", 30.0)
    assert isinstance(ask(access, None, b"k", now=1029.0), SlowDown)
    assert isinstance(ask(access, None, b"k", now=1031.0), Identity)
    assert isinstance(ask(access, None, b"k", now=1031.0), SlowDown)


def test_scopes() -> None:
    """`admin` holds everything; the others only themselves."""
    reader = Identity("r", frozenset({"read"}))
    assert [reader.may(s) for s in ("inference", "read", "admin")] == [False, True, False]
    assert Identity("a", frozenset({"admin"})).may("inference")


def test_model_patterns() -> None:
    """Patterns match any name by which the model is known, and case matters."""
    identity = Identity("m", models=("llama-*", "x/y"))
    assert identity.may_use("llama-3")
    assert identity.may_use("other", "llama-3")
    assert not identity.may_use("Llama-3", "x")


def test_guessing_becomes_slow() -> None:
    """After ten wrong keys an address has to wait, longer each time; others do not."""
    access = Access([ALICE])
    for _ in range(Failures.FREE):
        assert ask(access, b"Bearer no") == Denied("wrong")
    assert ask(access, b"Bearer no") == Denied("wrong")
    assert ask(access, b"Bearer no", now=0.5) == SlowDown("too many wrong API keys", 0.5)
    assert ask(access, b"Bearer k1", now=0.5) == SlowDown("too many wrong API keys", 0.5)
    assert isinstance(ask(access, b"Bearer k1", now=0.5, address="2.2.2.2"), Identity)
    assert ask(access, b"Bearer no", now=1.0) == Denied("wrong")
    assert ask(access, b"Bearer no", now=1.0) == SlowDown("too many wrong API keys", 2.0)


def test_a_known_caller_is_not_slowed() -> None:
    """Someone else's guesses behind the same address do not lock out who was let in before."""
    access = Access([ALICE])
    assert isinstance(ask(access, b"Bearer k1"), Identity)
    for _ in range(20):
        ask(access, b"Bearer no")
    assert isinstance(ask(access, b"Bearer k1"), Identity)


def test_failures_are_forgiven_and_bounded() -> None:
    """A right key, or a long time, ends the count; the table never grows beyond its bound."""
    failures = Failures()
    for _ in range(30):
        failures.on_failure("a", 0.0)
    assert failures.wait("a", 0.0) == Failures.LONGEST
    assert failures.wait("a", 61.0) == 0.0
    failures.on_failure("a", 700.0)
    assert failures.wait("a", 700.0) == 0.0
    for _ in range(30):
        failures.on_failure("b", 700.0)
    failures.on_success("b")
    assert failures.wait("b", 700.0) == 0.0
    for n in range(Failures.ADDRESSES + 10):
        failures.on_failure(str(n), 0.0)
    assert len(failures._seen) == Failures.ADDRESSES


def test_what_is_remembered_is_bounded() -> None:
    """Endless spellings of one right key do not fill the memory."""
    access = Access([ALICE])
    for n in range(5000):
        assert isinstance(ask(access, basic(f"user{n}:k1")), Identity)
    assert len(access._known) <= 4096
