"""The front door: which route, may this client, and off it goes.

One call per request. The order is fixed: host, preflight, route, key, origin;
then either a coroutine answers (control routes) or a `Visit` begins (models).
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator
from time import monotonic
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from modelswap.core.lifecycle import Phase
from modelswap.core.names import Local, Off
from modelswap.core.spec import ClientId, ModelId
from modelswap.errors import (
    ConflictError,
    ForbiddenError,
    MethodNotAllowedError,
    NotFoundError,
    RateLimitedError,
    ReplyError,
    UnauthorizedError,
)

from .access import ANYONE, UNAUTHORIZED, Denied, Identity, SlowDown
from .call import Call, Refusal, Reply, Stream
from .envelope import error_reply, reply_for
from .routes import Model, Scope, Table, allowed, choose
from .visit import Visit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelswap.http import Exchange, Field, Request

    from .book import Book
    from .house import House
    from .routes import Route

UNCLEAN: Final = re.compile(r"//|/\.\.?(?:/|$)")
COMFYUI: Final = ModelId("comfyui_auto")
POLLS: Final = frozenset({"/health", "/metrics", "/slots"})
"""Below `/upstream/<model>`: asked by monitors, so they start nothing and keep nothing alive."""
_FOUND_AGAIN: Final = {"GET": 301, "HEAD": 301}


class Front:
    def __init__(self, house: House) -> None:
        self.house = house
        self.loop: asyncio.AbstractEventLoop = house.loop
        self._table = Table()

    def __call__(self, exchange: Exchange) -> None:
        """Handle one request."""
        try:
            self._admit(exchange)
        except ReplyError as error:
            self.send_error(exchange, error)
            self._log(exchange, len(error.text))

    # Admission

    def _admit(self, exchange: Exchange) -> None:
        request = exchange.request
        book = self.house.book
        origins = book.origins
        host = request.header(b"host")
        if not origins.is_our_host(host):
            raise ForbiddenError("this Host is not served here; add it to allowedHosts")
        if request.method == "OPTIONS":
            self._preflight(exchange, book, host)
            return
        path = request.path
        found = self._table.find(path)
        if (found is None or found[1]) and UNCLEAN.search(path):
            self._redirect(exchange, _cleaned(path), 307)
            return
        if found is None:
            raise NotFoundError(f"no such path: {path}")
        methods, params = found
        route = choose(methods, request.method)
        if route is None:
            error = MethodNotAllowedError("method not allowed")
            self.send_error(exchange, error, (("Allow", allowed(methods)),))
            return
        identity = self._identify(request, route, book)
        if route.changes or route.model is not Model.NONE:
            self._check_site(request, book)
        self._handle(exchange, route, params, identity)

    def _identify(self, request: Request, route: Route, book: Book) -> Identity:
        access = book.access
        if access.is_open or route.scope is Scope.OPEN:
            return ANYONE
        verdict = access.check(
            request.header(b"authorization"),
            request.header(b"x-api-key"),
            address=self.address_of(request),
            now=self.loop.time(),
            wall=time.time(),  # noqa: TID251 - keys expire by the calendar
        )
        match verdict:
            case Identity():
                if not verdict.may(route.scope.value):
                    raise ForbiddenError(f"this key lacks the scope {route.scope.value!r}")
                return verdict
            case Denied():
                raise UnauthorizedError(UNAUTHORIZED)
            case SlowDown(reason, retry_after):
                raise RateLimitedError(reason, retry_after=retry_after)

    def _check_site(self, request: Request, book: Book) -> None:
        if book.origins.is_foreign(
            origin=request.header(b"origin"),
            host=request.header(b"host"),
            sec_fetch_site=request.header(b"sec-fetch-site"),
            referer=request.header(b"referer"),
        ):
            raise ForbiddenError(
                "refused: the request comes from a page of another site; "
                "if that is meant, add its origin to allowedOrigins"
            )

    def _preflight(self, exchange: Exchange, book: Book, host: bytes | None) -> None:
        request = exchange.request
        fields = book.origins.preflight(
            origin=request.header(b"origin"),
            host=host,
            request_headers=request.header(b"access-control-request-headers"),
            private_network=request.header(b"access-control-request-private-network"),
        )
        exchange.reply(204, fields)

    # Handling

    def _handle(
        self, exchange: Exchange, route: Route, params: dict[str, str], identity: Identity
    ) -> None:
        match route.model:
            case Model.NONE:
                exchange.read_body(
                    lambda body: self._control(exchange, route, params, identity, body)
                )
            case Model.BODY | Model.QUERY:
                self._model(exchange, route, identity)
            case Model.POLL:
                self._poll(exchange, route, identity)
            case Model.PATH:
                self._upstream(exchange, params["path"], identity)
            case Model.COMFYUI:
                self._comfyui(exchange, params.get("path"), identity)

    def _model(self, exchange: Exchange, route: Route, identity: Identity) -> None:
        request = exchange.request
        path = forwarded_path(request.path)
        visit = self.visit(exchange, identity, path, is_recorded=route.recorded, is_tracked=True)
        kind = request.header(b"content-type")
        if kind is not None and b"multipart/form-data" in kind.lower() and request.has_body:
            visit.on_form(kind)
        else:
            exchange.read_body(visit.on_body)

    def visit(
        self,
        exchange: Exchange,
        identity: Identity,
        path: str,
        *,
        is_recorded: bool,
        is_tracked: bool,
    ) -> Visit:
        """Begin a visit whose upstream gets `path`."""
        return Visit(
            self, exchange, identity, path=path, is_recorded=is_recorded, is_tracked=is_tracked
        )

    def _poll(self, exchange: Exchange, route: Route, identity: Identity) -> None:
        visit = self.visit(exchange, identity, route.path, is_recorded=False, is_tracked=False)
        exchange.read_body(visit.on_poll)

    # Passing through

    def _upstream(self, exchange: Exchange, path: str, identity: Identity) -> None:
        house = self.house
        match = house.book.names.split_raw_path(path, house.profile)
        if match is None or isinstance(match.target, Off):
            raise NotFoundError("model not found")
        request = exchange.request
        if not match.rest:
            status = _FOUND_AGAIN.get(request.method, 308)
            self._redirect(exchange, f"/upstream/{path}/", status)
            return
        found = self._table.find(match.rest)
        route = choose(found[0], request.method) if found else None
        is_model = route is not None and route.model in {Model.BODY, Model.QUERY}
        visit = self.visit(
            exchange,
            identity,
            match.rest,
            is_recorded=is_model and route is not None and route.recorded,
            is_tracked=is_model,
        )
        name, target = match.name, match.target
        polls = request.method in {"GET", "HEAD"} and match.rest in POLLS
        if isinstance(target, Local) and house.fleet.phase(target.model) is not Phase.READY:
            self._refuse_start(target.model, unquote(match.rest), polls=polls)
        if request.has_body:
            exchange.read_body(lambda body: visit.pass_through(name, target, body))
        else:
            visit.pass_through(name, target, b"", polls=polls)

    def _refuse_start(self, model: ModelId, rest: str, *, polls: bool) -> None:
        if polls:
            raise ConflictError(f"model {model} is not loaded; {rest} cannot start it")
        if any(pattern.search(rest) for pattern in self.house.plan.settings.ignore_paths):
            raise ConflictError(f"model {model} is not loaded; path matches upstream.ignorePaths")

    def _comfyui(self, exchange: Exchange, path: str | None, identity: Identity) -> None:
        house = self.house
        if path is None:
            self._redirect(exchange, "/comfyui/", _FOUND_AGAIN.get(exchange.request.method, 308))
            return
        if COMFYUI not in house.plan.models:
            raise NotFoundError(f"local model {COMFYUI} not found")
        if path and house.fleet.phase(COMFYUI) is not Phase.READY:
            raise ConflictError(f"model {COMFYUI} is not loaded; only /comfyui/ can start it")
        target = Local(COMFYUI, COMFYUI)
        visit = self.visit(exchange, identity, "/" + path, is_recorded=False, is_tracked=False)
        exchange.read_body(lambda body: visit.pass_through(COMFYUI, target, body))

    # Control routes

    def _control(
        self,
        exchange: Exchange,
        route: Route,
        params: dict[str, str],
        identity: Identity,
        body: bytes,
    ) -> None:
        call = Call(
            request=exchange.request, house=self.house, identity=identity, params=params, body=body
        )
        exchange.spawn(self._answer(exchange, route, call))

    async def _answer(self, exchange: Exchange, route: Route, call: Call) -> None:
        assert route.handler is not None
        begun = monotonic()
        try:
            reply = await route.handler(call)
        except ReplyError as error:
            headers = error.headers if isinstance(error, Refusal) else ()
            self.send_error(exchange, error, headers)
            self._log(exchange, 0, begun)
            return
        match reply:
            case Reply(status, body, content_type, headers):
                exchange.reply(status, self._fields(exchange.request, content_type, headers), body)
                self._log(exchange, len(body), begun)
            case Stream():
                await self._stream(exchange, reply)

    async def _stream(self, exchange: Exchange, stream: Stream) -> None:
        exchange.start(
            stream.status, self._fields(exchange.request, stream.content_type, stream.headers)
        )
        drained = asyncio.Event()
        exchange.on_drain = drained.set
        try:
            async for chunk in stream.chunks:
                drained.clear()
                if not exchange.write(chunk):
                    await drained.wait()
        finally:
            if isinstance(stream.chunks, AsyncGenerator):
                await stream.chunks.aclose()
        exchange.end()

    # Answers

    def send_error(
        self, exchange: Exchange, error: ReplyError, headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        """Answer in the envelope, in the form that the client prefers."""
        accept = exchange.request.header(b"accept")
        reply = reply_for(
            error, accept=None if accept is None else accept.decode("latin-1"), headers=headers
        )
        exchange.reply(reply.status, self._with_cors(exchange.request, reply.headers), reply.body)

    def error_body(self, request: Request | None, status: int, text: str) -> tuple[bytes, bytes]:
        """Word a refusal of the HTTP layer."""
        accept = None if request is None else request.header(b"accept")
        reply = error_reply(
            status, text, accept=None if accept is None else accept.decode("latin-1")
        )
        return reply.headers[0][1].encode("latin-1"), reply.body

    def _fields(
        self, request: Request, content_type: str, headers: tuple[tuple[str, str], ...]
    ) -> list[tuple[bytes, bytes]]:
        return self._with_cors(request, (("Content-Type", content_type), *headers))

    def _with_cors(
        self, request: Request, headers: tuple[tuple[str, str], ...]
    ) -> list[tuple[bytes, bytes]]:
        fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        fields += self.cors(request)
        return fields

    def cors(self, request: Request) -> Sequence[Field]:
        """Return what lets a page of an allowed origin read the answer."""
        origin = request.header(b"origin")
        return () if origin is None else self.house.book.origins.cors(origin)

    def _redirect(self, exchange: Exchange, to: str, status: int) -> None:
        query = exchange.request.query
        location = f"{to}?{query}" if query else to
        exchange.reply(status, [(b"Location", location.encode("ascii"))])
        self._log(exchange, 0)

    def _log(self, exchange: Exchange, sent: int, begun: float | None = None) -> None:
        request = exchange.request
        seconds = 0.0 if begun is None else monotonic() - begun
        self.house.access_line(request, self.address_of(request), exchange.status, sent, seconds)

    # Who asks

    def address_of(self, request: Request) -> str:
        """Return the client's address, behind the proxies that are trusted."""
        origins = self.house.book.origins
        if not origins.trusts(request.client):
            return request.client
        return origins.client_address(
            request.client, request.header_values(b"x-forwarded-for"), request.header(b"x-real-ip")
        )

    def client_of(self, request: Request, identity: Identity) -> ClientId:
        """Return whom the request counts for when turns are shared out."""
        if identity.name:
            return ClientId(identity.name)
        header = self.house.plan.settings.client_id_header
        if header is not None:
            value = request.header(header.lower().encode())
            if value is not None:
                return ClientId(value.decode("latin-1"))
        return ClientId(self.address_of(request))

    def is_background(self, request: Request, identity: Identity) -> bool:
        if identity.background:
            return True
        header = self.house.plan.settings.background_header
        return header is not None and request.header(header.lower().encode()) is not None


def forwarded_path(path: str) -> str:
    """Return the path that the upstream gets: `/v/x` → `/x`, `/audioapi/x` → `/x`."""
    if path.startswith("/v/"):
        return path[2:]
    return path.removeprefix("/audioapi")


def _cleaned(path: str) -> str:
    """Resolve `//`, `/./` and `/../`; percent-encoded ones are not touched."""
    kept: list[str] = []
    for piece in path.split("/"):
        if piece == "..":
            if kept:
                kept.pop()
        elif piece not in {"", "."}:
            kept.append(piece)
    tail = "/" if path.endswith(("/", "/.", "/..")) and kept else ""
    return "/" + "/".join(kept) + tail
