"""What an exchange, the connection below it and a tunnel ask of each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine
    from typing import Any

    from modelswap.http.body.protocols import BodySink
    from modelswap.http.message.request import Request
    from modelswap.http.transport.write_coalescer import WriteCoalescer


class ReadingEnd(Protocol):
    """The client's connection, as the reader of its requests uses it."""

    def write(self, data: bytes) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


class ResponseWriter(ReadingEnd, Protocol):
    """The client's connection, as a tunnel uses it."""

    paused: bool
    """The client does not keep up."""

    def write_all(self, parts: tuple[bytes, ...]) -> None: ...
    def write_eof(self) -> None: ...
    def close(self) -> None: ...


class ExchangeWriter(ResponseWriter, Protocol):
    """The client's connection, as an exchange uses it, and who passes chunks to it."""

    coalescer: WriteCoalescer
    transport: asyncio.Transport | None
    """None before the connection is made and after it was lost."""


class ClientTunnel(Protocol):
    """Takes the bytes of a client's connection after `101`."""

    def from_client(self, data: bytes) -> None: ...
    def on_client_eof(self) -> None: ...
    def on_client_lost(self) -> None: ...
    def on_client_paused(self) -> None: ...
    def on_client_resumed(self) -> None: ...


class ExchangeOwner(Protocol):
    """The connection, as an exchange uses it."""

    keep_alive: bool
    """Another request may follow the current one."""

    @property
    def reader(self) -> BodyReader: ...
    def date_line(self) -> bytes: ...

    def closing_line(self) -> bytes: ...
    def must_close(self) -> bool:
        """Whether the response that begins now must be the last one."""
        ...

    def send_whole(self, data: bytes) -> bool:
        """Send a whole response and go on; False: it has to say that the connection closes."""
        ...

    def on_finished(self) -> None: ...

    def break_off(self, *, reset: bool) -> None:
        """End the connection so that the response looks broken; `reset` where a plain end would not."""

    def begin_tunnel(self, tunnel: ClientTunnel, head: bytes) -> None: ...
    def spawn(self, coro: Coroutine[Any, Any, None]) -> None: ...
    def hold(self, count: int) -> bool: ...


class BodyReader(Protocol):
    def read_body(self, done: Callable[[bytes], None], limit: int | None) -> None: ...
    def refuse_large(self) -> None: ...
    def stream_body(self, sink: BodySink) -> None: ...
    def pause_body(self) -> None: ...
    def resume_body(self) -> None: ...


class ReaderOwner(Protocol):
    """The connection, as the reader of its requests uses it."""

    charged: int
    """Bytes that the current exchange holds in memory."""

    def on_request(self, request: Request, ready: bytes | None) -> None:
        """`ready` is the body, when it came whole with its head; None: it may still be on its way."""

    def on_body_end(self) -> None:
        """The body is complete and was taken."""

    def refuse(
        self, status: int, text: str, *, head: bytes = b"", request: Request | None = None
    ) -> None:
        """Respond with an error, if that is still possible, and close; `head` is what is no request."""

    def hold(self, count: int) -> bool:
        """Account for bytes in memory; False: too much."""
        ...

    def fill_bodies(self) -> None:
        """Read large bodies into their own memory from now on."""
