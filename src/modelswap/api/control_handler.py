"""Runs the coroutine of a control route and sends what it returns.

Guarantees: a stream is closed when the client leaves or the server stops, and is not read faster
than the client reads.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Final

from modelswap.deferred import dataclass
from modelswap.errors import ReplyError
from modelswap.units import Bytes

from .control.control_request import ControlError, ControlRequest, Reply, StreamReply
from .proxy.bodies import plain_body
from .responder import Responder, fields_of
from .routing.redirects import location

if TYPE_CHECKING:
    from modelswap.http import Exchange, Field, Request

    from .auth.identity import Identity
    from .hosts.trusted_proxies import TrustedProxies
    from .routes import Route
    from .services import Services

CONTROL_BODY: Final = Bytes(64 << 10)
"""The largest body of a control request: the handlers read a few short fields."""
_REDIRECTS: Final = frozenset({301, 302, 307, 308})
"""Statuses whose `Location` is written for the client."""


@dataclass(slots=True, eq=False)
class ControlHandler:
    services: Services
    responder: Responder

    def begin(
        self, exchange: Exchange, route: Route, params: dict[str, str], identity: Identity
    ) -> None:
        def on_body(body: bytes) -> None:
            request = ControlRequest(exchange.request, self.services, identity, params, body)
            exchange.spawn(self._answer(exchange, route, request))

        exchange.read_body(on_body, CONTROL_BODY)

    async def _answer(self, exchange: Exchange, route: Route, request: ControlRequest) -> None:
        assert route.handler is not None
        began = monotonic()
        try:
            request.body = plain_body(request.http_request, request.body, CONTROL_BODY)
            reply = await route.handler(request)
            if isinstance(reply, Reply) and reply.status in _REDIRECTS:
                proxies = self.services.config.snapshot.proxies
                reply = _below_prefix(reply, request.http_request, proxies)
        except ReplyError as error:
            headers = error.headers if isinstance(error, ControlError) else ()
            self.responder.error(exchange, error, headers, began)
            return
        headers = (("Content-Type", reply.content_type), *reply.headers)
        rules = self.services.config.snapshot.site_rules
        fields = fields_of(headers, exchange.request, rules)
        if isinstance(reply, Reply):
            self.responder.reply(exchange, reply.status, fields, reply.body, began)
        else:
            await self._stream(exchange, reply, fields, began)

    async def _stream(
        self, exchange: Exchange, stream: StreamReply, fields: list[Field], began: float
    ) -> None:
        if exchange.request.method == "HEAD":  # the stream has no end, but its head has
            with contextlib.suppress(TimeoutError, StopAsyncIteration):
                async with asyncio.timeout(0):  # only what has begun cleans up after itself
                    await anext(stream.chunks)
            await _close(stream)
            self.responder.reply(exchange, stream.status, fields, began=began)
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
            self.responder.log(exchange, sent, began)
            await _close(stream)
        exchange.end()


def _below_prefix(reply: Reply, request: Request, proxies: TrustedProxies) -> Reply:
    """Return a redirect to a path of the program with its `Location` as the client needs it."""
    from html import escape  # noqa: PLC0415 - with what it imports, a millisecond of the start

    where = location(request, dict(reply.headers)["Location"], proxies)
    kept = tuple(field for field in reply.headers if field[0] != "Location")
    body = f'<a href="{escape(where)}">Found</a>.\n\n'.encode()
    return replace(reply, body=body, headers=(*kept, ("Location", where)))


async def _close(stream: StreamReply) -> None:
    close = getattr(stream.chunks, "aclose", None)
    if close is not None:  # other iterators need no end
        await close()
