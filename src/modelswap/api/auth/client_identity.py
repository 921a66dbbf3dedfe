"""Whom a request comes from: an address, a client to share out turns to, a background job.

Law: an address or a name that a client gives itself is believed from trusted
proxies only, or within bounds. It refuses to judge keys; that is `access`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from modelswap.bounded_cache import BoundedCache
from modelswap.core.spec import ClientId

if TYPE_CHECKING:
    from modelswap.api.snapshot import ConfigSnapshot
    from modelswap.http import Request

    from .auth import Identity
    from .host_and_cors import HostAndOriginRules

MOST_CLAIMS: Final = 64
"""Clients that one address may pretend to be with `clientIdHeader`."""
MOST_CLAIMED: Final = 128
"""Characters of such a name."""
_ADDRESSES: Final = 1024
NO_SWAP: Final = b"x-modelswap-no-swap"
"""The header by which one request asks to be refused rather than to swap a model out."""
_YES: Final = frozenset({b"1", b"true", b"yes", b"on"})
_NOT_MARKED: Final = frozenset({b"", b"0", b"false", b"no", b"off"})


def address_of(request: Request, origins: HostAndOriginRules) -> str:
    """Return the client's address, behind the proxies that are trusted."""
    if not origins.trusts(request.client):
        return request.client
    return origins.client_address(
        request.client, request.header_values(b"x-forwarded-for"), request.header(b"x-real-ip")
    )


def is_background(request: Request, identity: Identity, snapshot: ConfigSnapshot) -> bool:
    """Tell whether the request may wait for all others; to say so oneself takes nothing from them."""
    if identity.background:
        return True
    header = snapshot.plan.settings.background_header
    value = None if header is None else request.header(header.lower().encode())
    return value is not None and value.strip().lower() not in _NOT_MARKED


def allows_no_swap(request: Request, identity: Identity) -> bool:
    """Tell whether no other model may be unloaded for the request: its key or its header says so."""
    if identity.no_swap:
        return True
    value = request.header(NO_SWAP)
    return value is not None and value.strip().lower() in _YES


class Callers:
    """Names that clients gave themselves, counted by address."""

    def __init__(self) -> None:
        self._claims: BoundedCache[str, set[str]] = BoundedCache(_ADDRESSES)

    def client_of(self, request: Request, identity: Identity, snapshot: ConfigSnapshot) -> ClientId:
        """Return whom the request counts for when turns are shared out.

        That is the key by its given name, else who the header names, else the key, else the address.
        """
        if identity.name and identity.is_named:
            return ClientId(identity.name)
        header = snapshot.plan.settings.client_id_header
        value = None if header is None else request.header(header.lower().encode())
        if value:
            name = value.decode("latin-1")[:MOST_CLAIMED]
            if self._is_believed(request, name, snapshot.origins):
                return ClientId(name)
        return ClientId(identity.name or address_of(request, snapshot.origins))

    def _is_believed(self, request: Request, name: str, origins: HostAndOriginRules) -> bool:
        """Believe a name that the client gave itself: a trusted proxy always, others in bounds.

        Otherwise one client could be a thousand, and have a thousand turns. Where proxies
        are trusted, nobody else is believed.
        """
        if origins.trusts(request.client):
            return True
        if origins.has_proxies:
            return False
        address = address_of(request, origins)
        claims = self._claims.get(address)
        if claims is None:
            claims = self._claims[address] = set()
        if name not in claims and len(claims) >= MOST_CLAIMS:
            return False
        claims.add(name)
        return True
