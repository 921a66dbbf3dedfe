"""Reads the headers in which a trusted reverse proxy describes the request that it received.

Guarantees: only headers from the addresses in `trustedProxies` count. A path prefix
is used only when it is a plain absolute path, so it cannot lead to another
host (`//evil.example`) or start another header line.
Does not: decide whether a host name is ours (`host_and_cors`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from modelswap.api.hosts.trusted_proxies import TrustedProxies
    from modelswap.http import Request

_LARGEST_PREFIX: Final = 1024
"""In characters: a prefix is repeated in each `Location`, and clients limit a header line to a few KiB."""
_PREFIX: Final = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~!$&'()*+;=:@%-]+)+", re.ASCII)


def forwarded_hosts(request: Request, proxies: TrustedProxies) -> tuple[bytes, ...]:
    """Return the names in `X-Forwarded-Host`; none when the sender is not trusted."""
    return tuple(_listed(request, b"x-forwarded-host", proxies))


def forwarded_prefix(request: Request, proxies: TrustedProxies) -> str:
    """Return the path prefix that trusted proxies removed, without a slash at its end."""
    parts = [
        part.decode("latin-1").rstrip("/")
        for part in _listed(request, b"x-forwarded-prefix", proxies)
    ]
    prefix = "".join(parts)
    is_plain = len(prefix) <= _LARGEST_PREFIX and _PREFIX.fullmatch(prefix) is not None
    return prefix if is_plain else ""


def _listed(request: Request, name: bytes, proxies: TrustedProxies) -> list[bytes]:
    if request.header(name) is None or not proxies.is_trusted(request.client):
        return []
    entries = b",".join(request.header_values(name)).split(b",")
    return [entry.strip() for entry in entries if entry.strip()]
