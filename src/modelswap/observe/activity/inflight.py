"""The list of running requests, and the events about them.

Guarantees: without subscribers, adding and removing a request cost two dictionary operations.
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
    from collections.abc import Callable, Mapping

    from modelswap.observe.events import EventBus
    from modelswap.observe.logs.redaction import HeaderMask, Headers

PROGRESS: Final = Seconds(0.25)
"""Between two events about the bytes of one response: smooth enough for a progress display."""
_ID: Final = regex(r"[1-9][0-9]{0,17}")
Payload = dict[str, object]


class InflightRequest(Protocol):
    number: int
    """Its id, given by `add`."""
    began: float
    """Monotonic."""
    began_ns: int
    """Since the epoch; 0 until it is first shown."""
    model: str
    cancel: Callable[[], None] | None
    received: int
    """Bytes of the response body so far."""
    shown: int
    """`received` when the request was last shown."""

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


class Inflight:
    def __init__(self, bus: EventBus, mask: HeaderMask) -> None:
        self._bus = bus
        self.mask = mask
        self._count = 0
        self._entries: dict[int, InflightRequest] = {}
        """Oldest first."""
        self._due: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entry: InflightRequest) -> None:
        self._count = entry.number = number = self._count + 1
        self._entries[number] = entry
        if self._bus.listening:
            self._upsert(entry)
            self._schedule_progress()

    def on_response_head(self, entry: InflightRequest) -> None:
        if self._bus.listening:
            self._upsert(entry)

    def remove(self, entry: InflightRequest) -> None:
        """The request ended. A second call does nothing."""
        if self._entries.pop(entry.number, None) is not None and self._bus.listening:
            if entry.received != entry.shown:
                self._upsert(entry)
            self._publish({"operation": "remove", "id": str(entry.number)})

    def cancel(self, entry_id: str) -> bool:
        """Cancel a request; return False when no such request runs."""
        entry = self._entries.get(int(entry_id)) if _ID.fullmatch(entry_id) else None
        if entry is not None and entry.cancel is not None:
            entry.cancel()
        return entry is not None

    def snapshot(self) -> Payload:
        if self._entries:
            self._schedule_progress()
        entries = self._entries.values()
        return {"operation": "snapshot", "requests": [self.show(entry) for entry in entries]}

    def show(self, entry: InflightRequest) -> Mapping[str, object]:
        entry.shown = entry.received
        elapsed = time.monotonic() - entry.began
        if not entry.began_ns:
            entry.began_ns = time.time_ns() - int(elapsed * 1e9)
        return {
            "id": str(entry.number),
            "timestamp": rfc3339(entry.began_ns),
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

    def _publish(self, payload: Payload) -> None:
        self._bus.publish("inflight", payload, remember=False)

    def _schedule_progress(self) -> None:
        if self._due is None:
            self._due = asyncio.get_running_loop().call_later(PROGRESS, self._on_progress)

    def _on_progress(self) -> None:
        self._due = None
        if not self._bus.listening or not self._entries:
            return
        for entry in list(self._entries.values()):
            if entry.received != entry.shown:
                self._upsert(entry)
        self._schedule_progress()
