"""Proxies whose headers about their clients count: `trustedProxies`.

Guarantees: without a trusted proxy in between, the address of a request is its connection's. A path
prefix is used only when it is a plain absolute path, so it cannot lead to another host
(`//evil.example`) or start another header line.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Final

from modelswap.bounded_cache import BoundedCache
from modelswap.deferred import regex

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from modelswap.http import Request

    Address = IPv4Address | IPv6Address

_REMEMBERED: Final = 1024
"""Addresses whose verdict is kept: more than a server has clients at a time."""
_LARGEST_PREFIX: Final = 1024
"""In characters: a prefix is repeated in each `Location`, and clients limit a header line to a few KiB."""
_PREFIX: Final = regex(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~!$&'()*+;=:@%-]+)+", re.ASCII)


def forwarded_hosts(request: Request, proxies: TrustedProxies) -> list[bytes]:
    """Return the names in `X-Forwarded-Host`; none when the sender is not trusted."""
    return _listed(request, b"x-forwarded-host", proxies)


def forwarded_prefix(request: Request, proxies: TrustedProxies) -> str:
    """Return the path prefix that trusted proxies removed, without a slash at its end."""
    parts = _listed(request, b"x-forwarded-prefix", proxies)
    prefix = "".join(part.decode("latin-1").rstrip("/") for part in parts)
    is_plain = len(prefix) <= _LARGEST_PREFIX and _PREFIX.fullmatch(prefix) is not None
    return prefix if is_plain else ""


def _listed(request: Request, name: bytes, proxies: TrustedProxies) -> list[bytes]:
    if request.header(name) is None or not proxies.is_trusted(request.client):
        return []
    entries = b",".join(request.header_values(name)).split(b",")
    return [entry.strip() for entry in entries if entry.strip()]


def parse_address(text: str) -> Address | None:
    """Read an IP address; an IPv4 address mapped into IPv6 is the IPv4 one."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


class TrustedProxies:
    def __init__(self, proxies: Iterable[str] = ()) -> None:
        """Take addresses and networks; `ValueError`: one is neither."""
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
        if not forwarded_for:
            return peer if real_ip is None else _address_in(real_ip.decode("latin-1")) or peer
        client = peer
        for entry in reversed(b",".join(forwarded_for).decode("latin-1").split(",")):
            address = _address_in(entry)
            if address is None:
                break
            client = address
            if not self.is_trusted(address):
                break
        return client


def _address_in(entry: str) -> str | None:
    """Read one entry of `X-Forwarded-For`, its port dropped; `None` when it is no address."""
    text = entry.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    address = parse_address(text)
    return None if address is None else str(address)
