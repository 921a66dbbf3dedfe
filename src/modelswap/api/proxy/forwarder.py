"""Begins requests to models: makes their context, and sends plain JSON the short way.

Does not: admit a request, or choose its route.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelswap.api.auth.client_identity import (
    ClientIdentities,
    address_of,
    allows_no_swap,
    is_background,
)

from .context import RequestContext
from .proxy_request import ProxyRequest

if TYPE_CHECKING:
    from modelswap.api.auth.identity import Identity
    from modelswap.api.auth.keys import ValidKeys
    from modelswap.core.naming.names import Target
    from modelswap.http import Exchange, Request

    from .services import ProxyServices


class Forwarder:
    def __init__(self, services: ProxyServices) -> None:
        self._services = services
        self._callers = ClientIdentities()

    def context(
        self,
        request: Request,
        identity: Identity,
        path: str,
        *,
        is_recorded: bool = False,
        is_tracked: bool = False,
        valid_keys: ValidKeys = (),
        codings: tuple[bytes, ...] = (),
        named: tuple[str, Target] | None = None,
        unleased: str = "",
    ) -> RequestContext:
        """Say who asks; the upstream gets `path`. See `RequestContext` for the others."""
        snapshot = self._services.config.snapshot
        return RequestContext(
            snapshot,
            request,
            identity,
            address=address_of(request, snapshot.proxies),
            client=self._callers.client_of(request, identity, snapshot),
            background=is_background(request, identity, snapshot),
            no_swap=allows_no_swap(request, identity),
            path=path,
            is_recorded=is_recorded,
            is_tracked=is_tracked,
            valid_keys=valid_keys,
            codings=codings,
            named=named,
            unleased=unleased,
        )

    def begin(self, exchange: Exchange, context: RequestContext) -> None:
        """Begin a request to a model."""
        request = ProxyRequest(self._services, exchange, context)
        if context.is_plain:
            exchange.read_body(request.on_body)
        else:
            request.receive()

    def begin_poll(self, exchange: Exchange, context: RequestContext) -> None:
        """Begin a request whose body, if it has one, counts for nothing."""
        request = ProxyRequest(self._services, exchange, context)
        exchange.read_body(lambda _: request.on_body(b""))
