"""The limits and deadlines that this package needs; the configuration supplies them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from modelswap.units import Bytes, Seconds


class Limits(Protocol):
    """What clients may send and hold."""

    @property
    def body(self) -> Bytes: ...
    @property
    def headers(self) -> Bytes: ...
    @property
    def header_count(self) -> int: ...
    @property
    def request_line(self) -> Bytes: ...
    @property
    def header_timeout(self) -> Seconds: ...
    @property
    def body_timeout(self) -> Seconds: ...
    @property
    def body_min_rate(self) -> Bytes: ...  # per second, over a span of `body_timeout`
    @property
    def idle_timeout(self) -> Seconds: ...
    @property
    def connections(self) -> int: ...
    @property
    def connections_per_address(self) -> int: ...


class Timeouts(Protocol):
    """Deadlines of connections to one upstream; `None` means no deadline."""

    @property
    def connect(self) -> Seconds | None: ...
    @property
    def tls_handshake(self) -> Seconds | None: ...
    @property
    def keepalive(self) -> Seconds | None: ...
    @property
    def response_header(self) -> Seconds | None: ...
    @property
    def stall(self) -> Seconds | None: ...  # longest silence in the middle of a response
    @property
    def idle_connection(self) -> Seconds | None: ...
