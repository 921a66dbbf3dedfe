"""Finds the client of a request, its address, and its priority.

Guarantees: an address that a client claims is accepted from trusted proxies only, a name also within
bounds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

from modelswap.bounded_cache import BoundedCache
from modelswap.core.spec import ClientId

if TYPE_CHECKING:
    from modelswap.api.hosts.trusted_proxies import TrustedProxies
    from modelswap.config.plan import Settings
    from modelswap.http import Request

    from .identity import Identity

MAX_CLAIMED_NAMES: Final = 64
"""Names that one address may claim with `clientIdHeader`: more than a household or a team has."""
MAX_NAME: Final = 128
"""Characters of such a name: user ids are shorter."""
_MAX_ADDRESSES: Final = 1024
"""Addresses whose claimed names are remembered."""
NO_SWAP: Final = b"x-modelswap-no-swap"
"""The header by which one request asks to be refused rather than to swap a model out."""
TTL: Final = b"x-modelswap-ttl"
"""The header by which one request says how long its model stays loaded after it."""
AUTOLOAD: Final = "autoload"
"""The parameter of llama.cpp's router by which one request asks to load its model, or not to."""
_YES: Final = frozenset({b"1", b"true", b"yes", b"on"})
_NOT_MARKED: Final = frozenset({b"", b"0", b"false", b"no", b"off"})


def address_of(request: Request, proxies: TrustedProxies) -> str:
    """Return the client's address, behind the proxies that are trusted."""
    if not proxies.is_trusted(request.client):  # nearly always
        return request.client
    return proxies.client_address(
        request.client, request.header_values(b"x-forwarded-for"), request.header(b"x-real-ip")
    )


def is_background(request: Request, identity: Identity, settings: Settings) -> bool:
    """Tell whether the request may wait for all others; any client may say so of its own."""
    value = _value_of(settings.background_header, request)
    return identity.background or value.strip().lower() not in _NOT_MARKED


def allows_no_swap(request: Request, identity: Identity) -> bool:
    """Tell whether no other model may be unloaded for the request: its key or its header says so."""
    value = request.header(NO_SWAP) or b""
    return identity.no_swap or value.strip().lower() in _YES


def may_load(request: Request, *, default: bool) -> bool:
    """Tell whether the request may load its model: its query says so as for llama.cpp's router."""
    if AUTOLOAD not in request.query:  # nearly always
        return default
    values = parse_qs(request.query).get(AUTOLOAD)
    return values[0] in {"1", "true"} if values else default


def _value_of(header: str | None, request: Request) -> bytes:
    """Return the value of a configured header, empty without one."""
    return (None if header is None else request.header(header.lower().encode())) or b""


class ClientIdentities:
    """Gives each request its client; counts the names that each address claims."""

    def __init__(self) -> None:
        self._claims = BoundedCache[str, set[str]](_MAX_ADDRESSES)

    def client_of(
        self, request: Request, identity: Identity, settings: Settings, proxies: TrustedProxies
    ) -> ClientId:
        """Return the client for which the request counts in fair queueing.

        That is the key by its given name, else the name in the header, else the key, else the address.
        """
        if identity.name and identity.is_named:
            return ClientId(identity.name)
        name = _value_of(settings.client_id_header, request).decode("latin-1")[:MAX_NAME]
        if name and self._may_claim(request, name, proxies):
            return ClientId(name)
        return ClientId(identity.name or address_of(request, proxies))

    def _may_claim(self, request: Request, name: str, proxies: TrustedProxies) -> bool:
        """Accept a claimed name: from a trusted proxy always, from others within bounds.

        Otherwise one client could be a thousand, with a thousand places in the queue. Where proxies
        are trusted, no other client may claim a name.
        """
        if proxies:
            return proxies.is_trusted(request.client)
        address = address_of(request, proxies)
        claims = self._claims.get(address)
        if claims is None:
            claims = self._claims[address] = set()
        if name not in claims and len(claims) >= MAX_CLAIMED_NAMES:
            return False
        claims.add(name)
        return True
