"""What all connections of a server share: limits, deadlines, memory, caches, handler, wording."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from modelswap.bounded_cache import BoundedCache
from modelswap.http.body.buffered_protocol import SHARED
from modelswap.http.message.fields import http_date, status_line, written
from modelswap.http.message.head import path_in
from modelswap.http.transport.deadline_sweeper import DeadlineSweeper
from modelswap.http.transport.write_coalescer import WriteCoalescer
from modelswap.units import Seconds

from .body_memory import BodyMemory
from .connections import Connections

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine, Sequence
    from typing import Any

    from modelswap.http.limits import Limits
    from modelswap.http.message.fields import Field
    from modelswap.http.message.head import RequestHead
    from modelswap.http.message.request import Request

    from .exchange import Exchange

_MAX_HEADS = 512
"""Heads: about two for each client that sends many requests."""
_TRANSIENT = frozenset({408, 503})
"""Refusals that another try may not meet: a slow client, too much at once."""
_RETRY_AFTER = Seconds(1)
"""What such a refusal says: long enough for a burst to pass."""


class Refused(NamedTuple):
    status: int
    text: str
    retry_after: float | None
    """Seconds."""
    request: Request | None
    path: str = ""
    """Where there is no request: its path, as far as it can be told."""


class ServerContext:
    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        handler: Callable[[Exchange], None],
        *,
        limits: Limits,
        error: Callable[[Refused], tuple[Sequence[Field], bytes]],
        crashed: Callable[[BaseException], None] | None,
        is_unbounded: Callable[[str], bool],
    ) -> None:
        self.loop = loop
        self.handler = handler
        self.limits = limits
        self._error = error
        self._crashed = crashed
        self.connections = Connections(loop, limits, is_unbounded)
        self.sweeper = DeadlineSweeper(loop, self._sweep)
        self.coalescer = WriteCoalescer(loop)
        self.memory = BodyMemory(loop)
        self.heads: BoundedCache[bytes, RequestHead] = BoundedCache(_MAX_HEADS)
        """Heads read before: equal bytes have an equal reading."""
        self.read_buffer = memoryview(bytearray(SHARED))
        """What `BufferedBodyProtocol`s read by: it holds nothing between two reads."""
        self.tasks: set[asyncio.Task[None]] = set()
        self.draining = False
        self.idle_count = 0
        """Counts the times that a connection became idle: the lower its number, the longer ago."""
        self._date = b""
        self._date_until = 0.0

    def set_limits(self, limits: Limits) -> None:
        self.limits = limits
        self.connections.set_limits(limits)
        self.heads.clear()

    def spawn(self, exchange: Exchange, coro: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        # A task group would cancel every request for the exception of one; this set is the
        # owner instead: it keeps the reference, reports the exception, and `Server.close` waits for all.
        task = self.loop.create_task(
            self._guarded(exchange, coro), name=f"request {exchange.request.path}"
        )
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def _guarded(self, exchange: Exchange, coro: Coroutine[Any, Any, None]) -> None:
        try:
            await coro
        except Exception as bug:  # noqa: BLE001 - the border: one request's bug ends one request
            self.on_crash(exchange, bug)

    def on_crash(self, exchange: Exchange, bug: BaseException) -> None:
        if self._crashed is not None:
            self._crashed(bug)
        if exchange.started:
            exchange.abort()
            return
        fields, body = self._error(Refused(500, "internal error", None, exchange.request))
        exchange.reply(500, fields, body)

    def refusal(self, request: Request | None, status: int, text: str, head: bytes) -> bytes:
        """A complete response; the connection closes after it. `head` is what is no request."""
        after = _RETRY_AFTER if status in _TRANSIENT else None
        fields, body = self._error(Refused(status, text, after, request, path_in(head)))
        headers = [*fields, (b"Content-Length", b"%d" % len(body)), (b"Connection", b"close")]
        if request is not None and request.method == "HEAD":
            body = b""
        return b"".join((status_line(status), written(headers), self.date_line(), b"\r\n", body))

    def date_line(self) -> bytes:
        """`Date`, as old as one sweep at most."""
        now = self.sweeper.now
        if now >= self._date_until:
            wall = time.time()  # noqa: TID251 - this is for display
            self._date = b"Date: %b\r\n" % http_date(wall)
            self._date_until = now + 1.0 - wall % 1.0
        return self._date

    def _sweep(self, now: float) -> bool:
        for connection in self.connections.swept.due(now):
            connection.sweep(now)
        return bool(self.connections)
