"""The list of running requests, and the events about them.

Guarantees: without subscribers, adding and removing a request cost two dictionary operations. A request
gets its number when it is first shown, or waits for its model.
Progress is published at most every `PROGRESS` seconds. Loop thread.
Does not: know sockets or queues; it cancels a request by calling its `cancel`.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, Protocol

from modelswap.deferred import regex
from modelswap.observe.logs.timestamps import rfc3339
from modelswap.units import Seconds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modelswap.observe.events import EventBus
    from modelswap.observe.logs.redaction import HeaderMask, Headers

PROGRESS: Final = Seconds(0.25)
"""Between two events about the bytes of one response: smooth enough for a progress display."""
_ID: Final = regex(r"[1-9][0-9]{0,17}")
Payload = dict[str, object]


class InflightRequest(Protocol):
    number: int
    """Its id; 0 until it is first shown, or waits for its model."""
    began: float
    """Monotonic."""
    received: int
    """Bytes of the response body so far."""

    @property
    def model(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def request_headers(self) -> Headers: ...
    @property
    def response_headers(self) -> Headers: ...
    @property
    def remote_ip(self) -> str: ...
    def cancel(self) -> None: ...


class _Shown:
    """What was shown of a running request."""

    __slots__ = ("began_ns", "entry", "has_head", "received")

    def __init__(self, entry: InflightRequest, began_ns: int) -> None:
        self.entry = entry
        self.began_ns = began_ns
        """Since the epoch; the same each time that the request is shown."""
        self.received = 0
        self.has_head = False


class Inflight:
    def __init__(self, bus: EventBus, mask: HeaderMask) -> None:
        self._bus = bus
        self.mask = mask
        self._count = 0
        self.entries: dict[InflightRequest, None] = {}
        """Oldest first. Without subscribers, a request that was not shown (its `number` is 0) may be put in
        and taken out directly: that is cheaper than a call.
        """
        self._shown: dict[int, _Shown] = {}
        """Of running requests that were shown."""
        self._due: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self.entries)

    def add(self, entry: InflightRequest) -> None:
        self.entries[entry] = None
        if self._bus.listening:
            self._upsert(entry)
            self._schedule_progress()

    def number_of(self, entry: InflightRequest) -> int:
        """Return the id of a running request; 0: it is not in the list."""
        if not entry.number and entry in self.entries:
            self._count = entry.number = self._count + 1
        return entry.number

    def on_response_head(self, entry: InflightRequest) -> None:
        if self._bus.listening:
            self._upsert(entry)

    def remove(self, entry: InflightRequest) -> None:
        """The request ended. A second call does nothing."""
        if entry not in self.entries:
            return
        del self.entries[entry]
        if self._bus.listening:
            if self._is_outdated(entry):
                self._upsert(entry)
            if entry.number:  # a subscriber may know it
                self._publish({"operation": "remove", "id": str(entry.number)})
        self._shown.pop(entry.number, None)

    def cancel(self, entry_id: str) -> bool:
        """Cancel a request; return False when no such request runs."""
        shown = self._shown.get(int(entry_id)) if _ID.fullmatch(entry_id) else None
        if shown is not None:
            shown.entry.cancel()
        return shown is not None

    def snapshot(self) -> Payload:
        if self.entries:
            self._schedule_progress()
        return {"operation": "snapshot", "requests": [self.show(entry) for entry in self.entries]}

    def show(self, entry: InflightRequest) -> Mapping[str, object]:
        elapsed = time.monotonic() - entry.began
        shown = self._shown.get(entry.number)
        if shown is None:
            if not entry.number:
                self._count = entry.number = self._count + 1
            shown = _Shown(entry, time.time_ns() - int(elapsed * 1e9))
            self._shown[entry.number] = shown
        shown.received = entry.received
        shown.has_head = bool(entry.response_headers)
        return {
            "id": str(entry.number),
            "timestamp": rfc3339(shown.began_ns),
            "model": entry.model,
            "req_path": entry.path,
            "method": entry.method,
            "req_headers": self.mask.flatten(entry.request_headers),
            "remote_ip": entry.remote_ip,
            "resp_headers": self.mask.flatten(entry.response_headers),
            "resp_bytes": entry.received,
            "elapsed_ms": int(elapsed * 1000),
        }

    def _upsert(self, entry: InflightRequest) -> None:
        self._publish({"operation": "upsert", "request": self.show(entry)})

    def _is_outdated(self, entry: InflightRequest) -> bool:
        shown = self._shown.get(entry.number)
        if shown is None:
            return entry.received > 0
        return entry.received != shown.received or (
            not shown.has_head and bool(entry.response_headers)
        )

    def _publish(self, payload: Payload) -> None:
        self._bus.publish("inflight", payload, remember=False)

    def _schedule_progress(self) -> None:
        if self._due is None:
            self._due = asyncio.get_running_loop().call_later(PROGRESS, self._on_progress)

    def _on_progress(self) -> None:
        self._due = None
        if not self._bus.listening or not self.entries:
            return
        for entry in list(self.entries):
            if self._is_outdated(entry):
                self._upsert(entry)
        self._schedule_progress()
