"""The sending side of one client's connection, below HTTP, and how it ends.

What is closed has a deadline: a client that takes nothing more is cut off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelswap.http.transport.sockets import (
    client_of,
    has_unread,
    is_loopback,
    reset_at_end,
    unpace,
)
from modelswap.units import Bytes, Seconds

from .client_probes import SlowReader

if TYPE_CHECKING:
    import asyncio

    from modelswap.http.limits import Limits
    from modelswap.http.transport.deadline_sweeper import DeadlineSweeper
    from modelswap.http.transport.write_coalescer import WriteCoalescer

HIGH_WATER = Bytes(256 << 10)
"""Bytes of the write buffer above which the response waits for the client: one read of uvloop."""
_LINGER = Seconds(2)
"""For a client that is refused to stop sending and read why."""
_FLUSH = Seconds(5)
"""For a closing connection to take what is still buffered."""


class ClientTransport:
    def __init__(self, coalescer: WriteCoalescer, sweeper: DeadlineSweeper) -> None:
        self.coalescer = coalescer
        self._sweeper = sweeper
        self._slow: SlowReader | None = None
        self.transport: asyncio.Transport | None = None
        """None before the connection is made and after it was lost."""
        self.closes_at: float | None = None
        """It is closing, and cut off then, on the sweeper's clock."""
        self.eof = False
        """The client sends no more."""
        self.is_reading = True
        self.is_tls = False
        self.paused = False
        """The client does not keep up."""
        self.peer = ""
        """The client's address; empty where the transport does not tell."""

    def begin(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        transport.set_write_buffer_limits(HIGH_WATER)
        self.peer = client_of(transport.get_extra_info("peername"))
        self.is_tls = bool(transport.get_extra_info("sslcontext"))
        if is_loopback(self.peer):
            unpace(transport.get_extra_info("socket"))

    def write(self, data: bytes) -> None:
        if self.transport is not None:
            self.coalescer.write(self.transport, data)

    def write_all(self, parts: tuple[bytes, ...]) -> None:
        if self.transport is not None:
            self.coalescer.flush()
            self.transport.writelines([part for part in parts if part])

    def write_eof(self) -> None:
        transport = self.transport
        self.coalescer.flush()
        if transport is not None and transport.can_write_eof() and not transport.is_closing():
            transport.write_eof()

    def on_paused(self) -> None:
        self.paused = True
        self._slow = SlowReader(self.transport, self._sweeper.now)

    def is_too_slow(self, now: float, limits: Limits) -> bool:
        """It keeps a model busy by that."""
        return (
            self.paused
            and self._slow is not None
            and self.transport is not None
            and self._slow.is_too_slow(self.transport, now, limits)
        )

    def pause_reading(self) -> None:
        if self.is_reading and self.transport is not None and not self.eof:
            self.is_reading = False
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if not self.is_reading and self.transport is not None and not self.eof:
            self.is_reading = True
            self.transport.resume_reading()

    @property
    def is_closing(self) -> bool:
        if self.closes_at is not None:
            return True
        return self.transport is not None and self.transport.is_closing()

    @property
    def has_unread(self) -> bool:
        transport = self.transport
        return transport is not None and has_unread(transport.get_extra_info("socket"))

    @property
    def is_quiet(self) -> bool:
        """Whether all was sent, and nothing has come that was not read yet."""
        transport = self.transport
        return (
            transport is not None and not transport.get_write_buffer_size() and not self.has_unread
        )

    def close(self) -> None:
        """Close when what is buffered was sent."""
        self.coalescer.flush()
        self.closes_at = self._sweeper.now + _FLUSH
        if self.transport is not None:
            self.transport.close()

    def close_at_eof(self) -> None:
        """The transport closes now, because the client sends no more."""
        self.coalescer.flush()  # a response that was just written
        self.closes_at = self.closes_at or self._sweeper.now + _FLUSH

    def linger(self) -> None:
        """Close when the client has finished sending, soon, so that it can read what was sent."""
        if self.eof or self.transport is None:
            self.close()
            return
        self.coalescer.flush()
        self.closes_at = self._sweeper.now + _LINGER
        self.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def reset(self) -> None:
        """So that the end is not taken for the end of the response."""
        if self.transport is not None:
            self.coalescer.flush()
            reset_at_end(self.transport.get_extra_info("socket"))
            self.transport.abort()

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()
