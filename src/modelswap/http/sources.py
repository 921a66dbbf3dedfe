"""Bodies that are sent while they come.

Law: no byte is held here. It refuses to start twice: what is gone is gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .exchange import Exchange
    from .outcome import OutboundSink


class ExchangeBody:
    """The client's body, byte for byte, as fast as the upstream takes it."""

    __slots__ = ("_exchange", "_sink")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._sink: OutboundSink | None = None

    @property
    def length(self) -> int | None:
        request = self._exchange.request
        return None if request.chunked else request.content_length or 0

    def start(self, sink: OutboundSink) -> None:
        self._sink = sink
        self._exchange.stream_body(self)

    def pause(self) -> None:
        self._exchange.pause_body()

    def resume(self) -> None:
        self._exchange.resume_body()

    def stop(self) -> None:
        self._sink = None
        self._exchange.resume_body()

    def on_data(self, data: bytes) -> None:
        if self._sink is not None:
            self._sink.on_data(data)

    def on_end(self) -> None:
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.on_end()
