"""What a relay, the connections on both sides of it and its owner ask of each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelswap.http.limits import Timeouts
    from modelswap.http.message.fields import Field
    from modelswap.http.message.head import ResponseHead
    from modelswap.http.message.response_heads import ResponseHeads
    from modelswap.http.transport.deadline_sweeper import DeadlineSweeper
    from modelswap.http.transport.write_coalescer import WriteCoalescer

    from .passthrough import Passthrough
    from .result import EndReason, RelayResult


C_contra = TypeVar("C_contra", contravariant=True)


class RelayOwner(Protocol):
    """Learns how the relay ended, and words what the client reads of a failure.

    Its methods are cheap and do not raise. Exactly one of `on_whole` and `on_end` is called, once.
    """

    def on_whole(self, head: ResponseHead, data: bytes) -> None:
        """Learn of a response that came and was sent in one piece, unseen by the observer."""

    def on_end(self, result: RelayResult) -> None: ...

    def error_event(self, result: RelayResult) -> bytes | None:
        """The last bytes of an event stream that breaks."""

    def on_late_error(self, status: int, content_type: bytes, body: bytes) -> bytes:
        """The last event of a stream that began before the upstream responded like this."""
        ...


class RelayObserver(Protocol):
    """Records a response as the upstream sends it; cheap, and does not raise."""

    def on_head(self, head: ResponseHead) -> None: ...

    def on_data(self, data: bytes, now: float = 0.0) -> None:
        """Take a piece of the body, without framing, after it was written to the client.

        It may be many pieces that came one by one until `now` (monotonic); 0: it came now.
        """


class ResponseTransform(Protocol):
    """Changes a response, but for its status, on its way to the client.

    A body in a content coding comes as it is. BadResponseError: the response makes no sense.
    """

    def head(self, head: ResponseHead) -> Sequence[Field] | None:
        """The fields for the client, framing and the connection's left out; None: it passes unchanged."""
        ...

    def data(self, data: bytes) -> bytes: ...
    def end(self) -> bytes: ...


class UpstreamTunnel(Protocol):
    """Takes the bytes of a connection to an upstream after `101`."""

    def from_upstream(self, data: bytes) -> None: ...

    def on_upstream_eof(self) -> bool:
        """Whether the connection stays open for what the client still sends."""
        ...

    def on_upstream_lost(self) -> None: ...
    def on_upstream_paused(self) -> None: ...
    def on_upstream_resumed(self) -> None: ...


class UpstreamWriter(Protocol):
    """The connection that carries the request."""

    def write(self, data: bytes) -> None: ...
    def write_all(self, parts: tuple[bytes, ...]) -> None: ...
    def write_eof(self) -> None: ...

    def touch(self) -> None:
        """Begin to wait for the response: the request is complete."""

    def pause(self) -> None: ...
    def resume(self) -> None: ...

    def drop(self) -> None:
        """End the connection at once; its observer is told nothing."""


class UpstreamReader(UpstreamWriter, Protocol):
    """The same, which reads the response, too."""

    def pass_chunks(self, passthrough: Passthrough) -> None:
        """Pass chunks on without a word to the observer, until one comes that is not alone and whole."""


class UpstreamObserver(Protocol):
    """Sends a request on a connection to an upstream, and takes the response."""

    is_head: bool
    is_sending: bool
    """The request's body is not complete yet."""
    is_streaming: bool
    """The body is sent as it comes, so it cannot be sent again."""
    wants_upgrade: bool

    def on_connection(self, connection: UpstreamReader) -> None: ...
    def on_upstream_paused(self) -> None: ...
    def on_upstream_resumed(self) -> None: ...
    def on_head(self, head: ResponseHead) -> None: ...
    def on_body(self, data: bytes) -> None: ...

    def on_chunk(self, raw: bytes, data: bytes) -> None:
        """Take `data`, which came as the one well-formed chunk `raw`."""

    def on_head_read(self) -> None:
        """All that was read with the head has been given."""

    def on_whole(self, head: ResponseHead, data: bytes) -> None:
        """Take a response that came in one piece; the connection is given up."""

    def on_complete(self, data: bytes) -> None:
        """Take the end of the response; the connection is given up."""

    def on_switch(self, head: ResponseHead) -> UpstreamTunnel: ...
    def on_broken(self, reason: EndReason, detail: str, *, never_ran: bool = False) -> None: ...

    def on_unanswered(self, *, reused: bool, never_ran: bool, was_reset: bool) -> None:
        """The connection ended before a byte of a response."""


class WholeTaker(Protocol):
    """Takes the response to a small request, if it comes whole in one read, with no observer made."""

    def on_response(self, head: ResponseHead, data: bytes) -> None:
        """Take a response with the status 200; the connection is given up."""

    def observer_on(self, connection: UpstreamReader) -> UpstreamObserver:
        """Make the observer of anything else. Nothing more is told to the taker."""
        ...


class ConnectionPool(Protocol[C_contra]):
    timeouts: Timeouts
    heads: ResponseHeads
    sweeper: DeadlineSweeper
    coalescer: WriteCoalescer

    def add(self, connection: C_contra) -> None: ...
    def put_idle(self, connection: C_contra) -> None: ...
    def remove(self, connection: C_contra) -> None: ...
