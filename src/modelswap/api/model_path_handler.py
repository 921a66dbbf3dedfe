"""Handles the routes whose path names the model: `/upstream/<model>/…` and `/comfyui/…`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from modelswap.core.models.lifecycle import Phase
from modelswap.core.naming.names import LocalTarget, Off, PeerTarget
from modelswap.core.spec import ModelId
from modelswap.deferred import dataclass
from modelswap.errors import ConflictError, ForbiddenError, NotFoundError

from .proxy.context import RequestContext
from .proxy.proxy_request import ProxyRequest
from .routes import UPSTREAM, Starts, Table, choose, starts_below

if TYPE_CHECKING:
    from modelswap.http import Exchange, Request

    from .auth.client_identity import ClientIdentities
    from .auth.identity import Identity
    from .pages.model_pages import ModelPages
    from .proxy.readiness import Readiness
    from .responder import Responder
    from .services import Services

COMFYUI: Final = ModelId("comfyui_auto")


@dataclass(slots=True, eq=False)
class ModelPathHandler:
    services: Services
    readiness: Readiness
    responder: Responder
    clients: ClientIdentities
    pages: ModelPages
    table: Table

    def upstream(self, exchange: Exchange, path: str, identity: Identity) -> None:
        """Send a request to the model that its path below `/upstream/` begins with, or raise."""
        services, request = self.services, exchange.request
        match = services.config.snapshot.names.split_path(path, services.profile, is_encoded=True)
        if match is None or isinstance(match.target, Off):
            raise NotFoundError("model not found")
        target = match.target
        if not identity.may_use(target.model, target.requested):
            raise ForbiddenError(f"this key may not use the model {match.name!r}")
        if not match.rest:
            self._add_slash(exchange, UPSTREAM + path)
            return
        if self._redirects_page(exchange, target):
            return
        found = self.table.find(match.rest)
        route = choose(found[0], request.method) if found else None
        is_traced = route is not None and route.traced_below
        context = RequestContext(
            services.config.snapshot,
            request,
            identity,
            self.clients,
            path=match.rest,
            is_recorded=is_traced and route is not None and route.recorded,
            is_tracked=is_traced,
            named=(match.name, target),
            unleased=self._unleased(exchange, target, match.rest),
        )
        ProxyRequest(services, exchange, context).receive()

    def _unleased(self, exchange: Exchange, target: LocalTarget | PeerTarget, rest: str) -> str:
        """Say what the request is called, when it loads no model and keeps none loaded."""
        request = exchange.request
        if not isinstance(target, LocalTarget):
            is_poll = starts_below(request.method, rest) is not Starts.ALWAYS
            return "polls" if is_poll else ""
        if self.readiness.is_unleased(target.model, request, rest):
            return "polls"
        return self._ignored(request, target)

    def _ignored(self, request: Request, target: LocalTarget) -> str:
        model = self.services.config.plan.models[target.model]
        return "ignored websocket requests" if request.upgrade and model.ignore_websockets else ""

    def _add_slash(self, exchange: Exchange, path: str) -> None:
        """Redirect with a status that clients remember; 308 keeps method and body."""
        status = 301 if exchange.request.method in {"GET", "HEAD"} else 308
        self.responder.redirect(exchange, path + "/", status)

    def _redirects_page(self, exchange: Exchange, target: LocalTarget | PeerTarget) -> bool:
        """Redirect a browser to the origin of the model's page, if it has to be there."""
        to = self.pages.move(exchange.request, target, self.services.config.snapshot)
        if to is not None:
            self.responder.reply(exchange, 307, [(b"Location", to)])
        return to is not None

    def comfyui(self, exchange: Exchange, path: str | None, identity: Identity) -> None:
        """Send a request to the model of that name, or raise; only its root loads it."""
        services, request = self.services, exchange.request
        if path is None:
            self._add_slash(exchange, request.path)
            return
        if COMFYUI not in services.config.plan.models:
            raise NotFoundError(f"local model {COMFYUI} not found")
        if not identity.may_use(COMFYUI):
            raise ForbiddenError(f"this key may not use the model {COMFYUI!r}")
        target = LocalTarget(COMFYUI, COMFYUI)
        if self._redirects_page(exchange, target):
            return
        if path and services.fleet.phase(COMFYUI) is not Phase.READY:
            raise ConflictError(f"model {COMFYUI} is not loaded; only /comfyui/ can start it")
        snapshot, named = services.config.snapshot, (COMFYUI, target)
        context = RequestContext(
            snapshot,
            request,
            identity,
            self.clients,
            path="/" + path,
            named=named,
            unleased=self._ignored(request, target),
        )
        ProxyRequest(services, exchange, context).receive()
