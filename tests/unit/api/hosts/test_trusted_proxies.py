"""The client behind proxies."""

from __future__ import annotations

import pytest

from modelswap.api.hosts.trusted_proxies import TrustedProxies


@pytest.mark.parametrize(
    ("peer", "forwarded", "real", "client"),
    [
        ("9.9.9.9", [b"1.1.1.1"], b"2.2.2.2", "9.9.9.9"),
        ("10.0.0.1", [], None, "10.0.0.1"),
        ("10.0.0.1", [], b"2.2.2.2", "2.2.2.2"),
        ("10.0.0.1", [], b"nonsense", "10.0.0.1"),
        ("10.0.0.1", [b"6.6.6.6, 1.1.1.1"], None, "1.1.1.1"),
        ("10.0.0.1", [b"6.6.6.6", b"1.1.1.1, 10.0.0.7"], None, "1.1.1.1"),
        ("10.0.0.1", [b"10.0.0.9, 10.0.0.8"], None, "10.0.0.9"),
        ("10.0.0.1", [b"1.1.1.1, evil"], None, "10.0.0.1"),
        ("10.0.0.1", [b"1.1.1.1:555"], b"2.2.2.2", "1.1.1.1"),
        ("::ffff:10.0.0.1", [b'"[2001:DB8::1]:5"'], None, "2001:db8::1"),
        ("", [b"1.1.1.1"], None, ""),
    ],
)
def test_clients_behind_proxies(
    peer: str, forwarded: list[bytes], real: bytes | None, client: str
) -> None:
    """Only the headers of trusted proxies count, and only as far as the chain of them reaches."""
    proxies = TrustedProxies(["10.0.0.0/8"])
    assert proxies.client_address(peer, forwarded, real) == client


def test_a_proxy_has_to_be_an_address() -> None:
    """A name among the proxies is a mistake."""
    with pytest.raises(ValueError, match="example"):
        TrustedProxies(["proxy.example"])
    assert not TrustedProxies().is_trusted("127.0.0.1")


def test_memory_is_bounded() -> None:
    """Endless addresses do not fill the memory."""
    proxies = TrustedProxies(["10.0.0.0/8"])
    for n in range(3000):
        proxies.is_trusted(f"h{n}")
    assert len(proxies._verdicts) <= 1024
