"""Proxies whose headers about their clients count: `trustedProxies`.

Guarantees: without a trusted proxy in between, the address of a request is its connection's.
"""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Final

from modelswap.bounded_cache import BoundedCache

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from ipaddress import IPv4Address

    Address = IPv4Address | IPv6Address

_REMEMBERED: Final = 1024
"""Addresses whose verdict is kept: more than a server has clients at a time."""


def parse_address(text: str) -> Address | None:
    """Read an IP address; an IPv4 address mapped into IPv6 is the IPv4 one."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


class TrustedProxies:
    """The trusted proxies of one configuration."""

    def __init__(self, proxies: Iterable[str] = ()) -> None:
        """Take addresses and networks.

        Raises:
            ValueError: one is neither.
        """
        self._networks = tuple(ip_network(proxy.strip(), strict=False) for proxy in proxies)
        self._verdicts = BoundedCache[str, bool](_REMEMBERED)

    def __bool__(self) -> bool:
        return bool(self._networks)

    def is_trusted(self, address: str) -> bool:
        """Tell whether the headers of this address about its clients count."""
        if not self._networks:
            return False
        known = self._verdicts.get(address)
        if known is None:
            parsed = parse_address(address)
            known = parsed is not None and any(parsed in network for network in self._networks)
            self._verdicts[address] = known
        return known

    def client_address(
        self, peer: str, forwarded_for: Sequence[bytes] = (), real_ip: bytes | None = None
    ) -> str:
        """Find the client behind trusted proxies: the right-most address that is no proxy.

        `forwarded_for` are all values of `X-Forwarded-For`, in order.
        """
        if not self.is_trusted(peer):
            return peer
        entries = b",".join(forwarded_for).decode("latin-1").split(",")
        client = peer
        for entry in reversed(entries if forwarded_for else []):
            address = _forwarded_address(entry)
            if address is None:
                break
            client = address
            if not self.is_trusted(address):
                break
        if not forwarded_for and real_ip is not None:
            return _forwarded_address(real_ip.decode("latin-1")) or peer
        return client


def _forwarded_address(entry: str) -> str | None:
    """Read one entry of `X-Forwarded-For`, its port dropped; `None` when it is no address."""
    text = entry.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    address = parse_address(text)
    return None if address is None else str(address)
