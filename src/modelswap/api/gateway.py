"""The front door: which route, may this client, and off it goes.

One call per request. The order is fixed: host, preflight, route, key, origin;
then either a coroutine answers (control routes) or a `ProxyRequest` begins (models).
"""

from __future__ import annotations

import asyncio
import contextlib
from time import monotonic
from typing import TYPE_CHECKING, Final

from modelswap.core.models.lifecycle import Phase
from modelswap.core.naming.names import LocalTarget, Off, PeerTarget
from modelswap.core.spec import ModelId
from modelswap.errors import (
    BadRequestError,
    ConflictError,
    ForbiddenError,
    MethodNotAllowedError,
    NotFoundError,
    ReplyError,
)

from .auth.client_identity import Callers, address_of, allows_no_swap, is_background
from .auth.identify import identify, is_still
from .auth.site_checks import check_host, check_site, preflight
from .control.control_request import ControlRequest, Refusal, Reply, StreamReply
from .errors.error_responses import error_reply, reply_for
from .pages.model_pages import ARRIVAL, ARRIVAL_FIELDS, ModelPages, is_page_host
from .pages.static_files import is_page_poll
from .proxy.bodies import plain_body
from .proxy.context import RequestContext, accept_of, line_ends
from .proxy.proxy_request import ProxyRequest
from .proxy.readiness import Readiness
from .routes import (
    QUIET_PATHS,
    UI,
    UPSTREAM,
    ModelLocation,
    Scope,
    Starts,
    Table,
    allowed,
    choose,
    speaks_anthropic,
    starts_below,
)
from .routing.paths import cleaned, escapes, forwarded_path, is_unclean
from .routing.redirects import below_prefix, location

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelswap.http import Exchange, Field, Refused, Request

    from .auth.auth import Held, Identity
    from .routes import Route
    from .services import Services

COMFYUI: Final = ModelId("comfyui_auto")
CONTROL_BODY: Final = 64 << 10
_REDIRECTS: Final = frozenset({301, 302, 307, 308})
_FOUND_AGAIN: Final = {"GET": 301, "HEAD": 301}


class Gateway:
    def __init__(self, services: Services) -> None:
        self.services = services
        self.loop: asyncio.AbstractEventLoop = services.loop
        self._table = Table()
        self._callers = Callers()
        self._pages = ModelPages(self.loop.time, services.log.once)
        self._readiness = Readiness(services)

    def __call__(self, exchange: Exchange) -> None:
        """Handle one request."""
        try:
            context = exchange.request.memo
            if (
                isinstance(context, RequestContext)
                and context.snapshot is self.services.config.snapshot
                and (not context.held or is_still(context, self.loop.time()))
            ):
                self._model(exchange, context)
            else:
                self._admit(exchange)
        except ReplyError as error:
            self._log(exchange, self.send_error(exchange, error))

    # Admission

    def _admit(self, exchange: Exchange) -> None:
        request = exchange.request
        snapshot = self.services.config.snapshot
        origins = snapshot.origins
        check_host(request, origins)
        if request.method == "OPTIONS":
            exchange.reply(204, preflight(request, origins))
            self._log(exchange, 0)
            return
        path = request.path
        found = self._table.find(path)
        if (found is None or found[1]) and is_unclean(path):
            self._redirect(exchange, cleaned(path), 307)
            return
        if found is None:
            raise NotFoundError(f"no such path: {path}")
        methods, params = found
        if params and escapes(path):
            raise BadRequestError("the path leads out of its place")
        route = choose(methods, request.method)
        if route is None:
            error = MethodNotAllowedError("method not allowed")
            sent = self.send_error(exchange, error, (("Allow", allowed(methods)),))
            self._log(exchange, sent)
            return
        is_page = is_page_host(request.header(b"host"))
        if is_page and route.model not in {ModelLocation.PATH, ModelLocation.COMFYUI}:
            raise NotFoundError("this host name serves the page of one model and nothing else")
        identity, held = identify(request, route.scope, snapshot, self.loop.time())
        if is_page and self._pages.arrives(request):
            exchange.reply(200, ARRIVAL_FIELDS, ARRIVAL)
            self._log(exchange, len(ARRIVAL))
            return
        if route.mixed and identity.models:
            raise ForbiddenError("this key is limited to some models, and this concerns them all")
        if route.changes or route.model is not ModelLocation.NONE:
            check_site(request, origins)
        self._handle(exchange, route, params, identity, held)

    # Handling

    def _handle(
        self,
        exchange: Exchange,
        route: Route,
        params: dict[str, str],
        identity: Identity,
        held: Held,
    ) -> None:
        match route.model:
            case ModelLocation.NONE:
                exchange.read_body(
                    lambda body: self._control(exchange, route, params, identity, body),
                    CONTROL_BODY,
                )
            case ModelLocation.BODY | ModelLocation.QUERY if route.starts is Starts.NEVER:
                self._poll(exchange, route, identity)
            case ModelLocation.BODY | ModelLocation.QUERY:
                context = self.context(
                    exchange.request,
                    identity,
                    forwarded_path(exchange.request.path),
                    is_recorded=route.recorded,
                    is_tracked=True,
                )
                if route.model is ModelLocation.BODY:
                    context.take_off_codings()
                if route.scope is Scope.INFERENCE:
                    context.held = held
                    exchange.request.memo = context
                self._model(exchange, context)
            case ModelLocation.PATH:
                self._upstream(exchange, params["path"], identity)
            case ModelLocation.COMFYUI:
                self._comfyui(exchange, params.get("path"), identity)

    def _model(self, exchange: Exchange, context: RequestContext) -> None:
        visit = ProxyRequest(self, exchange, context)
        if context.is_plain:
            exchange.read_body(visit.on_body)
        else:
            visit.on_other_body()

    def context(
        self,
        request: Request,
        identity: Identity,
        path: str,
        *,
        is_recorded: bool,
        is_tracked: bool,
    ) -> RequestContext:
        """Say who asks; the upstream gets `path`."""
        return RequestContext(
            self.services.config.snapshot,
            request,
            identity,
            address=address_of(request, self.services.config.snapshot.origins),
            client=self._callers.client_of(request, identity, self.services.config.snapshot),
            background=is_background(request, identity, self.services.config.snapshot),
            no_swap=allows_no_swap(request, identity),
            path=path,
            is_recorded=is_recorded,
            is_tracked=is_tracked,
        )

    def visit(
        self,
        exchange: Exchange,
        identity: Identity,
        path: str,
        *,
        is_recorded: bool,
        is_tracked: bool,
    ) -> ProxyRequest:
        """Begin a visit whose upstream gets `path`."""
        context = self.context(
            exchange.request, identity, path, is_recorded=is_recorded, is_tracked=is_tracked
        )
        return ProxyRequest(self, exchange, context)

    def _poll(self, exchange: Exchange, route: Route, identity: Identity) -> None:
        visit = self.visit(exchange, identity, route.path, is_recorded=False, is_tracked=False)
        exchange.read_body(visit.on_poll)

    # Passing through

    def _upstream(self, exchange: Exchange, path: str, identity: Identity) -> None:
        services = self.services
        match = services.config.snapshot.names.split_raw_path(path, services.profile)
        if match is None or isinstance(match.target, Off):
            raise NotFoundError("model not found")
        if not identity.may_use(match.target.model, match.target.requested):
            raise ForbiddenError(f"this key may not use the model {match.name!r}")
        request = exchange.request
        if not match.rest:
            status = _FOUND_AGAIN.get(request.method, 308)
            self._redirect(exchange, f"{UPSTREAM}{path}/", status)
            return
        if self._moves(exchange, match.target):
            return
        found = self._table.find(match.rest)
        route = choose(found[0], request.method) if found else None
        is_traced = route is not None and route.traced_below
        visit = self.visit(
            exchange,
            identity,
            match.rest,
            is_recorded=is_traced and route is not None and route.recorded,
            is_tracked=is_traced,
        )
        name, target = match.name, match.target
        if isinstance(target, LocalTarget):
            polls = self._readiness.is_peek(target.model, request, match.rest)
        else:
            polls = starts_below(request.method, match.rest) is not Starts.ALWAYS
        visit.pass_on(name, target, polls=polls)

    def _moves(self, exchange: Exchange, target: LocalTarget | PeerTarget) -> bool:
        """Lead a browser to the origin of the model's page, if it has to be there."""
        to = self._pages.move(exchange.request, target, self.services.config.snapshot)
        if to is not None:
            exchange.reply(307, [(b"Location", to)])
            self._log(exchange, 0)
        return to is not None

    def _comfyui(self, exchange: Exchange, path: str | None, identity: Identity) -> None:
        services = self.services
        if path is None:
            request = exchange.request
            self._redirect(exchange, request.path + "/", _FOUND_AGAIN.get(request.method, 308))
            return
        if COMFYUI not in services.config.plan.models:
            raise NotFoundError(f"local model {COMFYUI} not found")
        if not identity.may_use(COMFYUI):
            raise ForbiddenError(f"this key may not use the model {COMFYUI!r}")
        target = LocalTarget(COMFYUI, COMFYUI)
        if self._moves(exchange, target):
            return
        if path and services.fleet.phase(COMFYUI) is not Phase.READY:
            raise ConflictError(f"model {COMFYUI} is not loaded; only /comfyui/ can start it")
        visit = self.visit(exchange, identity, "/" + path, is_recorded=False, is_tracked=False)
        visit.pass_on(COMFYUI, target)

    # Control routes

    def _control(
        self,
        exchange: Exchange,
        route: Route,
        params: dict[str, str],
        identity: Identity,
        body: bytes,
    ) -> None:
        call = ControlRequest(
            request=exchange.request,
            services=self.services,
            identity=identity,
            params=params,
            body=body,
        )
        exchange.spawn(self._answer(exchange, route, call))

    async def _answer(self, exchange: Exchange, route: Route, call: ControlRequest) -> None:
        assert route.handler is not None
        begun = monotonic()
        try:
            call.body = plain_body(call.request, call.body, CONTROL_BODY)
            reply = await route.handler(call)
            if isinstance(reply, Reply) and reply.status in _REDIRECTS:
                reply = below_prefix(reply, call.request, self.services.config.snapshot.origins)
        except ReplyError as error:
            headers = error.headers if isinstance(error, Refusal) else ()
            self._log(exchange, self.send_error(exchange, error, headers), begun)
            return
        match reply:
            case Reply(status, body, content_type, headers):
                exchange.reply(status, self._fields(exchange.request, content_type, headers), body)
                self._log(exchange, len(body), begun)
            case StreamReply():
                await self._stream(exchange, reply, begun)

    async def _stream(self, exchange: Exchange, stream: StreamReply, begun: float) -> None:
        fields = self._fields(exchange.request, stream.content_type, stream.headers)
        if exchange.request.method == "HEAD":  # the stream has no end, but its head has
            with contextlib.suppress(TimeoutError, StopAsyncIteration):
                async with asyncio.timeout(0):  # only what has begun cleans up after itself
                    await anext(stream.chunks)
            await _close(stream)
            exchange.reply(stream.status, fields)
            self._log(exchange, 0, begun)
            return
        exchange.start(stream.status, fields)
        drained = asyncio.Event()
        exchange.on_drain = drained.set
        sent = 0
        try:
            async for chunk in stream.chunks:
                drained.clear()
                sent += len(chunk)
                if not exchange.write(chunk):
                    await drained.wait()
        finally:
            self._log(exchange, sent, begun)
            await _close(stream)
        exchange.end()

    # Answers

    def send_error(
        self, exchange: Exchange, error: ReplyError, headers: tuple[tuple[str, str], ...] = ()
    ) -> int:
        """Answer in the envelope, in the form that the client prefers; return the body's size."""
        request = exchange.request
        reply = reply_for(
            error,
            accept=accept_of(request),
            headers=headers,
            anthropic=speaks_anthropic(request.path),
        )
        exchange.reply(reply.status, self._with_cors(request, reply.headers), reply.body)
        return len(reply.body)

    def refusal(self, refused: Refused) -> tuple[Sequence[Field], bytes]:
        """Word a refusal of the HTTP layer."""
        request = refused.request
        reply = error_reply(
            refused.status,
            refused.text,
            accept=None if request is None else accept_of(request),
            retry_after=refused.retry_after,
            anthropic=speaks_anthropic(refused.path if request is None else request.path),
        )
        return self._with_cors(request, reply.headers), reply.body

    def _fields(
        self, request: Request, content_type: str, headers: tuple[tuple[str, str], ...]
    ) -> list[tuple[bytes, bytes]]:
        return self._with_cors(request, (("Content-Type", content_type), *headers))

    def _with_cors(
        self, request: Request | None, headers: tuple[tuple[str, str], ...]
    ) -> list[tuple[bytes, bytes]]:
        fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        if request is not None:
            fields += self.cors(request)
        return fields

    def cors(self, request: Request) -> Sequence[Field]:
        """Return what lets a page of an allowed origin read the answer."""
        origin = request.header(b"origin")
        return () if origin is None else self.services.config.snapshot.origins.cors(origin)

    def _redirect(self, exchange: Exchange, to: str, status: int) -> None:
        where = location(exchange.request, to, self.services.config.snapshot.origins)
        exchange.reply(status, [(b"Location", where.encode("ascii"))])
        self._log(exchange, 0)

    def _log(self, exchange: Exchange, sent: int, begun: float | None = None) -> None:
        request, services = exchange.request, self.services
        seconds = 0.0 if begun is None else monotonic() - begun
        is_poll = is_page_poll(request, exchange.status, UI) and not services.logs.shows("debug")
        if not is_poll and not request.path.startswith(QUIET_PATHS):
            ends = line_ends(request, address_of(request, services.config.snapshot.origins))
            services.access_line(ends[0], exchange.status, sent, ends[1], seconds)


async def _close(stream: StreamReply) -> None:
    close = getattr(stream.chunks, "aclose", None)
    if close is not None:  # other iterators need no end
        await close()
