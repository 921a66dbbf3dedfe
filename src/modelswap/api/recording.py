"""What is written down about one request: list of running ones, meter, capture, row.

Law: everything here is called on the byte path, so it does little: the heavy
part happens in the store's thread. It never raises over what a client or a
model server sent. A `Recording` ends once; a second `end` does nothing.
"""

from __future__ import annotations

import time
from time import monotonic
from typing import TYPE_CHECKING, Final

import msgspec

from modelswap.observe.activity import Row
from modelswap.observe.failure import describe
from modelswap.observe.meter import Meter
from modelswap.observe.usage import Tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from modelswap.http import Field
    from modelswap.observe.captures import Draft
    from modelswap.observe.inflight import Entry

    from .house import House

_OK: Final = 200
_NONE: Final = Tokens()
_CONTENT_TYPE: Final = b"content-type"
_bags: dict[tuple[tuple[str, str], ...], str] = {}
_MOST_BAGS: Final = 1024


class Recording:
    """One request to a model, from its resolution to its end."""

    __slots__ = (
        "_began",
        "_bytes_in",
        "_bytes_out",
        "_draft",
        "_entry",
        "_house",
        "_is_ended",
        "_is_recorded",
        "_meter",
        "_queue_ms",
        "_status",
        "_type",
        "client",
        "key",
        "metadata",
        "model",
        "path",
        "requested",
        "stream",
    )

    def __init__(
        self,
        house: House,
        *,
        model: str,
        requested: str,
        path: str,
        client: str,
        key: str,
        stream: bool,
        is_recorded: bool,
        began: float,
    ) -> None:
        """`path` is what the row shows; `began` is monotonic."""
        self._house = house
        self._began = began
        self._is_recorded = is_recorded
        self._is_ended = False
        self._queue_ms = -1
        self._bytes_in = 0
        self._bytes_out = 0
        self._status = 0
        self._type = ""
        self._entry: Entry | None = None
        self._meter: Meter | None = None
        self._draft: Draft | None = None
        self.model = model
        self.requested = requested
        self.path = path
        self.client = client
        self.key = key
        self.stream = stream
        self.metadata: Mapping[str, str] | None = None

    def enter(
        self,
        *,
        method: str,
        shown_path: str,
        headers: Sequence[Field],
        cancel: Callable[[], None],
    ) -> None:
        """List it among those that run."""
        self._entry = self._house.inflight.enter(
            model=self.model,
            path=shown_path,
            method=method,
            headers=headers,
            remote_ip=self.client,
            cancel=cancel,
        )

    def granted(self, now: float) -> None:
        """The model is there."""
        self._queue_ms = int((now - self._began) * 1000)

    def sending(self, headers: Sequence[Field], body: bytes, length: int) -> None:
        """What goes to the model server, after all rewriting; `length` of a body not held."""
        self._bytes_in = length
        if self._is_recorded and self._draft is None:
            self._draft = self._house.captures.begin(self.path, headers, body)

    def on_head(self, status: int, headers: Sequence[Field]) -> None:
        """The head of the answer, as it goes to the client."""
        self._status = status
        house = self._house
        if self._entry is not None:
            house.inflight.answered(self._entry, headers)
        if not self._is_recorded:
            return
        for name, value in headers:
            if len(name) == len(_CONTENT_TYPE) and name.lower() == _CONTENT_TYPE:
                self._type = value.decode("latin-1")
        self._meter = meter = Meter(self.path, self._began)
        meter.on_head(status, headers)
        if self._draft is not None:
            house.captures.on_head(self._draft, status, headers)

    def on_data(self, chunk: bytes) -> None:
        """The next bytes of the answer's body, after they went to the client."""
        self._bytes_out += len(chunk)
        if self._entry is not None:
            self._entry.received = self._bytes_out
        if self._meter is not None:
            self._meter.on_data(chunk, monotonic())
            if self._draft is not None:
                self._house.captures.on_data(self._draft, chunk)

    def replied(self, status: int) -> None:
        """The answer is our own: an error."""
        self._status = status
        self._type = "application/json"

    def end(self, ending: str, *, status: int | None = None, error: str = "") -> None:
        """It is over; `status` when it is not what was sent (499: the client left)."""
        if self._is_ended:
            return
        self._is_ended = True
        if self._entry is not None:
            self._house.inflight.leave(self._entry)
        if status is not None:
            self._status = status
        if self._is_recorded:
            self._record(ending, error)

    def _record(self, ending: str, error: str) -> None:
        house = self._house
        now = monotonic()
        wall = int((now - self._began) * 1000)
        ended_ns = time.time_ns()  # for display
        tokens = _NONE if self._meter is None else self._meter.finish(now)
        if not error:
            error = tokens.error or ("" if self._status == _OK else describe(self._status, b""))
        row = Row(
            house.store.next_id(),
            ended_ns // 1_000_000_000,
            self.model,
            self.path,
            self._type,
            self._status,
            tokens.cached,
            tokens.drafted,
            tokens.accepted,
            tokens.input,
            tokens.output,
            tokens.prompt_per_second,
            tokens.per_second,
            tokens.duration_ms or wall,
            error,
            _bag(self.metadata),
            self.requested,
            self.client,
            self.key,
            int(self.stream),
            tokens.ttft_ms,
            self._queue_ms,
            -1,
            ended_ns // 1_000_000 - wall,
            tokens.finish_reason,
            self._bytes_in,
            self._bytes_out,
            tokens.wall_per_second,
            ending,
        )
        draft = self._draft
        if draft is not None and self._status == _OK and not self._bytes_out:
            house.captures.drop(draft)  # nothing came: nothing to look at
            draft = None
        house.store.record(row, draft)
        house.metrics.request(row)


def _bag(metadata: Mapping[str, str] | None) -> str:
    if not metadata:
        return ""
    key = tuple(metadata.items())
    text = _bags.get(key)
    if text is None:
        if len(_bags) >= _MOST_BAGS:
            _bags.clear()
        text = _bags[key] = msgspec.json.encode(metadata).decode()
    return text
