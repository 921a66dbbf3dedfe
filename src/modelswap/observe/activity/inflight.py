"""The requests that are running now.

Law: entering and leaving cost two dictionary operations while nobody watches;
events about progress come at most every quarter of a second. It cancels by
calling back; it knows nothing of sockets or queues. One event loop's thread.
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, Final, Protocol

from modelswap.observe.logs.timestamps import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from modelswap.observe.logs.redaction import HeaderMask, Headers

PROGRESS: Final = 0.25
_ID: Final = re.compile(r"[1-9][0-9]{0,17}")
Shown = dict[str, object]


class EventSink(Protocol):
    """Where changes are told."""

    @property
    def listening(self) -> bool: ...

    def publish(self, kind: str, payload: object, *, remember: bool = True) -> None: ...


class InflightRequest(Protocol):
    """One running request, kept by whoever serves it."""

    number: int
    """Given here."""
    began: float
    """Monotonic."""
    began_ns: int
    """Since the epoch; 0 until it is first shown."""
    model: str
    cancel: Callable[[], None] | None
    response_headers: Headers
    received: int
    """Bytes of the answer's body so far."""
    shown: int
    """The same when it was last shown."""

    @property
    def path(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def request_headers(self) -> Headers: ...
    @property
    def remote_ip(self) -> str: ...


class Inflight:
    """The list of running requests and what watchers are told of it."""

    def __init__(self, bus: EventSink, mask: HeaderMask) -> None:
        self._bus = bus
        self.mask = mask
        self._count = 0
        self._entries: dict[int, InflightRequest] = {}
        """Oldest first."""
        self._due: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._entries)

    def enter(self, entry: InflightRequest) -> None:
        """A request begins; its `cancel` is called when somebody wants it to end."""
        self._count = entry.number = number = self._count + 1
        self._entries[number] = entry
        if self._bus.listening:
            self._upsert(entry)
            self._watch()

    def answered(self, entry: InflightRequest) -> None:
        """The head of the answer went to the client."""
        if self._bus.listening:
            self._upsert(entry)

    def leave(self, entry: InflightRequest) -> None:
        """The request ended, however. A second call does nothing."""
        if self._entries.pop(entry.number, None) is not None and self._bus.listening:
            if entry.received != entry.shown:
                self._upsert(entry)
            self._tell({"operation": "remove", "id": str(entry.number)})

    def cancel(self, entry_id: str) -> bool:
        """End a request; False when there is no such request (any more)."""
        known = _ID.fullmatch(entry_id)
        entry = self._entries.get(int(entry_id)) if known else None
        if entry is None:
            return False
        if entry.cancel is not None:
            entry.cancel()
        return True

    def snapshot(self) -> Shown:
        """All of them, oldest first."""
        if self._entries:
            self._watch()
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
        self._tell({"operation": "upsert", "request": self.show(entry)})

    def _tell(self, payload: Shown) -> None:
        self._bus.publish("inflight", payload, remember=False)

    def _watch(self) -> None:
        if self._due is None:
            self._due = asyncio.get_running_loop().call_later(PROGRESS, self._on_progress)

    def _on_progress(self) -> None:
        self._due = None
        if not self._bus.listening or not self._entries:
            return
        for entry in list(self._entries.values()):
            if entry.received != entry.shown:
                self._upsert(entry)
        self._watch()
