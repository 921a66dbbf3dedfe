"""Dispatches each request: which route it has, whether it may use it, and who handles it.

The order is fixed: host, preflight, route, key, origin. Then a coroutine answers (control routes)
or a `ProxyRequest` begins (models). A request whose head is equal to one that was admitted goes
straight to its model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelswap.config.schema.schema import KeyScope
from modelswap.errors import (
    BadRequestError,
    ForbiddenError,
    MethodNotAllowedError,
    NotFoundError,
    ReplyError,
)

from .auth.authentication import has_same_identity, identify
from .auth.client_identity import ClientIdentities
from .control_handler import ControlHandler
from .hosts.page_hosts import is_page_host
from .hosts.site_checks import check_host, check_site
from .model_path_handler import ModelPathHandler
from .pages.model_pages import LANDING_FIELDS, LANDING_PAGE, ModelPages
from .proxy.bodies import codings_to_remove
from .proxy.context import RequestContext
from .proxy.proxy_request import ProxyRequest
from .proxy.readiness import Readiness
from .responder import Responder
from .routes import ModelLocation, Starts, Table, allowed, by_query, choose
from .routing.paths import cleaned, escapes, forwarded_path, is_unclean

if TYPE_CHECKING:
    from modelswap.http import Exchange

    from .auth.identity import Identity
    from .auth.keys import ValidKeys
    from .routes import Route
    from .services import Services


class Gateway:
    def __init__(self, services: Services) -> None:
        self._services = services
        self._config = services.config
        self._loop = services.loop
        self._table = Table()
        self._pages = ModelPages(self._loop.time, services.log.once)
        self._responder = responder = Responder(services)
        self._clients = ClientIdentities()
        self._control = ControlHandler(services, responder)
        self._paths = ModelPathHandler(
            services, Readiness(services), responder, self._clients, self._pages, self._table
        )
        self.refusal = responder.refusal

    def handle(self, exchange: Exchange) -> None:
        try:
            context = exchange.request.memo
            if (
                type(context) is RequestContext
                and context.snapshot is self._config.snapshot
                and (
                    not context.valid_keys
                    or has_same_identity(
                        context.snapshot.authenticator,
                        context.valid_keys,
                        context.identity,
                        self._loop.time(),
                    )
                )
            ):
                ProxyRequest(self._services, exchange, context).receive()
            else:
                self._admit(exchange)
        except ReplyError as error:
            self._responder.error(exchange, error)

    def _admit(self, exchange: Exchange) -> None:
        request = exchange.request
        snapshot = self._config.snapshot
        rules, proxies = snapshot.site_rules, snapshot.proxies
        check_host(request, rules, proxies)
        if request.method == "OPTIONS":
            self._responder.reply(exchange, 204, rules.preflight(request))
            return
        path = request.path
        found = self._table.find(path)
        if (found is None or found[1]) and is_unclean(path):
            self._responder.redirect(exchange, cleaned(path), 307)
            return
        if found is None:
            raise NotFoundError(f"no such path: {path}")
        methods, params = found
        if params and escapes(path):
            raise BadRequestError("the path leads out of its place")
        route = choose(methods, request.method)
        if route is None:
            error = MethodNotAllowedError("method not allowed")
            self._responder.error(exchange, error, (("Allow", allowed(methods)),))
            return
        route = by_query(route, request.query)
        is_page = is_page_host(request.header(b"host"))
        if is_page and route.model not in {ModelLocation.PATH, ModelLocation.COMFYUI}:
            raise NotFoundError("this host name serves the page of one model and nothing else")
        identity, valid_keys = identify(
            request, route.scope, snapshot.authenticator, snapshot.proxies, self._loop.time()
        )
        if is_page and self._pages.follows_redirect(request):
            self._responder.reply(exchange, 200, LANDING_FIELDS, LANDING_PAGE)
            return
        if route.mixed and identity.models:
            raise ForbiddenError("this key is limited to some models, and this concerns them all")
        if route.changes or route.model is not ModelLocation.NONE:
            check_site(request, rules, proxies)
        self._handle(exchange, route, params, identity, valid_keys)

    def _handle(
        self,
        exchange: Exchange,
        route: Route,
        params: dict[str, str],
        identity: Identity,
        valid_keys: ValidKeys,
    ) -> None:
        match route.model:
            case ModelLocation.NONE:
                self._control.begin(exchange, route, params, identity)
            case ModelLocation.BODY | ModelLocation.QUERY:
                self._begin(exchange, route, identity, valid_keys)
            case ModelLocation.PATH:
                self._paths.upstream(exchange, params["path"], identity)
            case ModelLocation.COMFYUI:
                self._paths.comfyui(exchange, params.get("path"), identity)

    def _begin(
        self, exchange: Exchange, route: Route, identity: Identity, valid_keys: ValidKeys
    ) -> None:
        request = exchange.request
        is_poll = route.starts is Starts.NEVER
        is_kept = route.scope is KeyScope.INFERENCE and not is_poll
        context = RequestContext(
            self._config.snapshot,
            request,
            identity,
            self._clients,
            path=forwarded_path(request.path),
            is_recorded=route.recorded,
            is_tracked=not is_poll,
            valid_keys=valid_keys if is_kept else (),
            codings=codings_to_remove(request) if route.model is ModelLocation.BODY else (),
            unleased="polls" if is_poll else "",
        )
        if is_kept:
            request.memo = context
        ProxyRequest(self._services, exchange, context).receive()
