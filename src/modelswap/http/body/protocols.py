"""How a request's body passes from the client's connection to the one to the upstream."""

from __future__ import annotations

from typing import Protocol


class BodySink(Protocol):
    def on_data(self, data: bytes) -> None: ...
    def on_end(self) -> None: ...


class UpstreamSink(BodySink, Protocol):
    """Can be told that the rest of the body will not come."""

    def on_fail(self, detail: str) -> None: ...


class BodyStream(Protocol):
    """A request's body that can be streamed: an `Exchange`'s, or one that is decoded on its way."""

    @property
    def body_length(self) -> int | None: ...
    def stream_body(self, sink: BodySink) -> None: ...
    def pause_body(self) -> None: ...
    def resume_body(self) -> None: ...


class ClientBody(BodyStream, Protocol):
    """The body as an `Exchange` gives it."""

    finished: bool
    """The exchange has ended: nothing more comes."""


class BodySource(Protocol):
    """A body that is sent as it comes; starts at most once. After `stop` it gives no more."""

    @property
    def length(self) -> int | None: ...
    def start(self, sink: UpstreamSink) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def stop(self) -> None: ...
