"""How wrong keys are counted."""

from __future__ import annotations

from modelswap.api.auth.failed_attempts import FailedAttempts


def test_the_count_ends_and_is_bounded() -> None:
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


def test_an_ipv6_network_counts_as_one_address() -> None:
    """Changing the lower half of an IPv6 address gives no new guesses; IPv4 addresses are apart."""
    failures = FailedAttempts()
    for n in range(30):
        failures.on_failure(f"2001:db8::{n:x}", 100.0)
    assert failures.wait("2001:db8::ffff", 100.0) > 0
    assert failures.wait("2001:db8:0:1::1", 100.0) == 0
    for n in range(30):
        failures.on_failure(f"10.0.0.{n}", 100.0)
    assert failures.wait("10.0.0.200", 100.0) == 0
