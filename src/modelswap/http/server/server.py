"""A server: it listens, and drains and closes its connections.

Guarantees: at most `limits.connections` connections, each with a bound on its memory and a deadline on
everything that it waits for.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import TYPE_CHECKING

from modelswap.http.transport.listening import ListenAddress, bound
from modelswap.http.transport.sockets import is_local
from modelswap.net.unix_sockets import SocketFile
from modelswap.units import Seconds

from .connection import ServerConnection
from .context import ServerContext

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable, Sequence
    from typing import Any

    from modelswap.http.limits import Limits
    from modelswap.http.message.fields import Field

    from .context import Refused
    from .exchange import Exchange

_BACKLOG = 1024
"""Connections that the kernel accepts ahead: a burst of clients within one iteration of the loop."""
_CLOSE_TIMEOUT = Seconds(2)
"""For connections that were cut and tasks that were cancelled to be gone."""
_DRAIN_INTERVAL = Seconds(0.02)
"""Between two checks whether requests still run, in a drain: shorter than anyone notices."""


class Server:
    def __init__(
        self,
        handler: Callable[[Exchange], None],
        *,
        limits: Limits,
        error: Callable[[Refused], tuple[Sequence[Field], bytes]],
        ssl_context: ssl.SSLContext | None = None,
        crashed: Callable[[BaseException], None] | None = None,
        is_unbounded: Callable[[str], bool] = is_local,
    ) -> None:
        """`error` words refusals; `crashed` learns of exceptions; `is_unbounded`: no limit there."""
        self._context = ServerContext(
            asyncio.get_running_loop(),
            handler,
            limits=limits,
            error=error,
            crashed=crashed,
            is_unbounded=is_unbounded,
        )
        self._ssl = ssl_context
        self._servers: list[asyncio.Server] = []
        self._socket_path = ""
        self._socket_file: SocketFile | None = None

    @property
    def connections(self) -> int:
        return len(self._context.connections)

    @property
    def held(self) -> int:
        """Bytes of bodies in memory."""
        return self._context.memory.held

    async def bind(self, address: ListenAddress) -> tuple[str, int]:
        """Return the real address, of a Unix socket its path and 0; raise ListenError."""
        real = await self.take(await bound(address), address)
        self._own_file()
        return real

    def _own_file(self) -> None:
        if self._socket_path:
            self._socket_file = SocketFile(self._socket_path)

    async def take(
        self, listening: Sequence[socket.socket], address: ListenAddress
    ) -> tuple[str, int]:
        """Use sockets that are bound to the address, without accepting yet; return the real one."""
        context = self._context
        context.set_limits(context.limits)
        self._socket_path = address.socket_path
        loop = context.loop
        create = loop.create_unix_server if address.socket_path else loop.create_server
        # From 3.13 on the loop would remove the file, which may be another process's by then.
        keeps_file = bool(address.socket_path) and sys.version_info >= (3, 13)
        more: dict[str, Any] = {"cleanup_socket": False} if keeps_file else {}
        for one in listening:
            server = await create(
                lambda: ServerConnection(context),
                sock=one,
                ssl=self._ssl,
                # a handshake comes before the connection is counted: it needs a deadline of its own
                ssl_handshake_timeout=None if self._ssl is None else context.limits.header_timeout,
                backlog=_BACKLOG,
                start_serving=False,
                **more,
            )
            self._servers.append(server)
        if address.socket_path:
            return address.socket_path, 0
        name = listening[0].getsockname()
        return str(name[0]), int(name[1])

    def listening(self) -> list[int]:
        """Return the descriptors."""
        return [one.fileno() for server in self._servers for one in server.sockets]

    async def accept(self) -> None:
        """From now on the file of a Unix socket is ours to remove."""
        self._own_file()
        for server in self._servers:
            await server.start_serving()

    def set_limits(self, limits: Limits) -> None:
        self._context.set_limits(limits)

    def hand_over(self) -> None:
        """Another process listens on the address from now on."""
        self._socket_file = None
        self.stop_accepting()

    def stop_accepting(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()
        if self._socket_file is not None:
            self._socket_file.remove()

    async def drain(self, timeout: float | None, quiet: float = 0.0) -> bool:  # noqa: ASYNC109 - the caller's word for it
        """Let running requests end; False when some were still running after `timeout`.

        Each connection stays open for one more request, for `quiet` seconds without any: a client that
        asks meanwhile gets a response (most likely that we are stopping), not a closed connection.
        """
        self.stop_accepting()
        context = self._context
        context.draining = True
        try:
            async with asyncio.timeout(timeout):
                busy = context.loop.time()
                while context.connections:
                    now = context.loop.time()
                    if any(connection.is_busy for connection in context.connections):
                        busy = now
                    elif now - busy >= quiet and self._close_idle():
                        break
                    await asyncio.sleep(_DRAIN_INTERVAL)
        except TimeoutError:
            return False
        return True

    def _close_idle(self) -> bool:
        """False: a request has come on one, read or not, or a response is still on its way."""
        return all(connection.close_if_idle() for connection in self._context.connections)

    async def close(self) -> None:
        self.stop_accepting()
        context = self._context
        context.draining = True
        for connection in context.connections:
            connection.kill()
        for task in list(context.tasks):
            task.cancel()
        if context.tasks:
            await asyncio.wait(context.tasks, timeout=_CLOSE_TIMEOUT)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_TIMEOUT):
                await context.connections.empty.wait()
        context.sweeper.stop()
        context.memory.close()
