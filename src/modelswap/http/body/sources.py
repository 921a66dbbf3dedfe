"""Request bodies that are sent to the upstream while they come.

They start once, and until then nothing more is read, so that the client waits and no memory fills.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from .protocols import BodySink, BodyStream, UpstreamSink


class ExchangeBody:
    """The client's body, byte for byte, as fast as the upstream takes it."""

    def __init__(self, exchange: BodyStream) -> None:
        self._exchange = exchange
        self._sink: UpstreamSink | None = None

    @property
    def length(self) -> int | None:
        return self._exchange.body_length

    def start(self, sink: UpstreamSink) -> None:
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


class OpenedBody:
    """The client's body, of which the beginning was read: all of it when it is small."""

    def __init__(
        self, exchange: BodyStream, *, most: int, known: Callable[[bytes, bool], None]
    ) -> None:
        """`known(beginning, whole)` is called once, when `most` bytes or all are there."""
        self._exchange = exchange
        self._most = most
        self._known = known
        self._parts: list[bytes] = []
        self._size = 0
        self._is_told = False
        self._has_ended = False
        self._is_paused = False
        """By the taker, perhaps while it is given the beginning."""
        self._sink: UpstreamSink | BodySink | None = None

    def begin(self) -> None:
        self._exchange.stream_body(self)

    def on_data(self, data: bytes) -> None:
        if self._sink is not None:
            self._sink.on_data(data)
            return
        self._parts.append(data)
        self._size += len(data)
        if self._size >= self._most:
            self._exchange.pause_body()
            self._tell()

    def on_end(self) -> None:
        self._has_ended = True
        self._tell()
        if self._sink is not None:
            self._end()

    def _tell(self) -> None:
        if not self._is_told:
            self._is_told = True
            self._known(b"".join(self._parts), self._has_ended)

    @property
    def length(self) -> int | None:
        return self._exchange.body_length

    def start(self, sink: UpstreamSink | BodySink) -> None:
        self._sink = sink
        parts, self._parts = self._parts, []
        for part in parts:
            sink.on_data(part)
        if self._has_ended:
            self._end()
        elif not self._is_paused:
            self._exchange.resume_body()

    def pause(self) -> None:
        self._is_paused = True
        self._exchange.pause_body()

    def resume(self) -> None:
        self._is_paused = False
        self._exchange.resume_body()

    def stop(self) -> None:
        self._sink = _Discard()
        self._parts = []
        self._exchange.resume_body()

    def _end(self) -> None:
        sink, self._sink = self._sink, _Discard()
        if sink is not None:
            sink.on_end()


class _Discard:
    def on_data(self, data: bytes) -> None: ...
    def on_end(self) -> None: ...
