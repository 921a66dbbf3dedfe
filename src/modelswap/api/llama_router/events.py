"""The event stream of `GET /models/sse`, as llama.cpp's router has it.

Guarantees: `publish` never waits, and costs next to nothing without readers. A reader that is too slow
loses events; a comment in its stream says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from modelswap.core.models.lifecycle import Phase
from modelswap.observe.bounded_stream import BoundedStream
from modelswap.units import Bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelswap.core.spec import ModelId

QUEUE: Final = Bytes(1 << 20)  # waits for one slow reader: some thousand events
EVERY: Final = "*"
"""The model of an event that concerns all of them."""

_encode = msgspec.json.Encoder().encode


def router_frame(model: str, event: str, data: dict[str, Any] | None = None) -> bytes:
    """Encode one event."""
    found: dict[str, Any] = {"model": model, "event": event}
    if data is not None:
        found["data"] = data
    return b"data: " + _encode(found) + b"\n\n"


class RouterReader:
    """One reader of the stream."""

    def __init__(self, may_read: Callable[[str], bool], *, shows_details: bool) -> None:
        """*may_read*: whether it hears of a model; *shows_details*: also why in the server's words."""
        self.may_read = may_read
        self.shows_details = shows_details
        self.stream = BoundedStream(QUEUE, lambda missing: b": %d bytes dropped\n\n" % missing)


class RouterEvents:
    def __init__(self) -> None:
        self._readers: list[RouterReader] = []
        self._phases: dict[ModelId, Phase] = {}
        """The last that was told: a new reason is no new phase."""
        self._closed = False

    def is_new(self, model: ModelId, phase: Phase) -> bool:
        """Take note of a phase; tell whether there are readers, and it was another one before."""
        before = self._phases.get(model, Phase.STOPPED)
        self._phases[model] = phase
        return bool(self._readers) and phase is not before

    def publish(
        self,
        model: str,
        event: str,
        data: dict[str, Any] | None = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        """Tell the readers; *details* are for those who may read commands and logs."""
        for reader in self._readers:
            if model == EVERY or reader.may_read(model):
                shown = data if data is None or not reader.shows_details else data | (details or {})
                reader.stream.put(router_frame(model, event, shown))

    def subscribe(self, reader: RouterReader) -> None:
        if self._closed:
            reader.stream.close()
        else:
            self._readers.append(reader)

    def unsubscribe(self, reader: RouterReader) -> None:
        if reader in self._readers:
            self._readers.remove(reader)

    def close(self) -> None:
        """End every stream."""
        self._closed = True
        for reader in self._readers:
            reader.stream.close()
