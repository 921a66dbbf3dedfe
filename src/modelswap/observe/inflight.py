"""The requests that are running now.

Law: entering and leaving cost two dictionary operations while nobody watches;
events about progress come at most every quarter of a second. It cancels by
calling back; it knows nothing of sockets or queues. One event loop's thread.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, Protocol

from .timestamps import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .redaction import HeaderMask, Headers

PROGRESS: Final = 0.25
Shown = dict[str, object]


class Bus(Protocol):
    """Where changes are told."""

    @property
    def listening(self) -> bool: ...

    def publish(self, kind: str, payload: object, *, remember: bool = True) -> None: ...


class Entry:
    """One running request. `received` may be raised by whoever writes to the client."""

    __slots__ = (
        "began",
        "began_ns",
        "cancel",
        "id",
        "method",
        "model",
        "path",
        "received",
        "remote_ip",
        "request_headers",
        "response_headers",
        "shown",
    )

    def __init__(
        self,
        number: int,
        *,
        model: str,
        path: str,
        method: str,
        headers: Headers,
        remote_ip: str,
        cancel: Callable[[], None] | None,
    ) -> None:
        self.id = str(number)
        self.began = time.monotonic()
        self.began_ns = time.time_ns()
        self.model = model
        self.path = path
        self.method = method
        self.request_headers = headers
        self.response_headers: Headers = ()
        self.remote_ip = remote_ip
        self.cancel = cancel
        self.received = 0
        self.shown = 0


class Inflight:
    """The list of running requests and what watchers are told of it."""

    def __init__(self, bus: Bus, mask: HeaderMask) -> None:
        self._bus = bus
        self.mask = mask
        self._count = 0
        self._entries: dict[str, Entry] = {}
        self._due: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._entries)

    def enter(
        self,
        *,
        model: str,
        path: str,
        method: str,
        headers: Headers,
        remote_ip: str,
        cancel: Callable[[], None] | None = None,
    ) -> Entry:
        """A request begins; `cancel` is called when somebody wants it to end."""
        self._count += 1
        entry = Entry(
            self._count,
            model=model,
            path=path,
            method=method,
            headers=headers,
            remote_ip=remote_ip,
            cancel=cancel,
        )
        self._entries[entry.id] = entry
        if self._bus.listening:
            self._upsert(entry)
            self._watch()
        return entry

    def answered(self, entry: Entry, headers: Headers) -> None:
        """The head of the answer went to the client."""
        entry.response_headers = headers
        if self._bus.listening:
            self._upsert(entry)

    def leave(self, entry: Entry) -> None:
        """The request ended, however. A second call does nothing."""
        if self._entries.pop(entry.id, None) is not None and self._bus.listening:
            if entry.received != entry.shown:
                self._upsert(entry)
            self._tell({"operation": "remove", "id": entry.id})

    def cancel(self, entry_id: str) -> bool:
        """End a request; False when there is no such request (any more)."""
        entry = self._entries.get(entry_id)
        if entry is None:
            return False
        if entry.cancel is not None:
            entry.cancel()
        return True

    def snapshot(self) -> Shown:
        """All of them, oldest first; `requests` is missing when there are none."""
        if not self._entries:
            return {"operation": "snapshot"}
        self._watch()
        ordered = sorted(self._entries.values(), key=lambda entry: (entry.began_ns, entry.id))
        return {"operation": "snapshot", "requests": [self.show(entry) for entry in ordered]}

    def show(self, entry: Entry) -> Mapping[str, object]:
        entry.shown = entry.received
        return {
            "id": entry.id,
            "timestamp": rfc3339(entry.began_ns),
            "model": entry.model,
            "req_path": entry.path,
            "method": entry.method,
            "req_headers": self.mask.flatten(entry.request_headers),
            "remote_ip": entry.remote_ip,
            "resp_headers": self.mask.flatten(entry.response_headers),
            "resp_bytes": entry.received,
            "elapsed_ms": int((time.monotonic() - entry.began) * 1000),
        }

    def _upsert(self, entry: Entry) -> None:
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
