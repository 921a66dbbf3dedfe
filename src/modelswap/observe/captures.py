"""Captures: headers and bodies of completed requests, for inspection.

Guarantees: credentials are masked before a capture is shown.
Does not: compress bodies: that costs ten times what forwarding them does.
Memory: `captureBuffer` and the number of rows bound the kept captures, the same amount again those of
running requests; one capture gets half of it.

`show` is not for the loop's thread.
"""

from __future__ import annotations

import base64
import sys
import threading
from collections import deque
from itertools import chain
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from modelswap.deferred import dataclass
from modelswap.units import Bytes

from .usage.decoding import DecodingFailedError, decode_whole, decoder_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelswap.config.plan import Settings

    from .logs.redaction import HeaderMask, Headers

STEP: Final = Bytes(64 << 10)
"""Memory is reserved in steps of this size, so that not every chunk is counted."""
SMALL: Final = Bytes(64 << 10)
"""A body below this size is joined or copied on the loop: that takes some microseconds."""
ITEM: Final = Bytes(512)  # what Python itself takes for one capture, about
FIELD: Final = Bytes(128)  # what Python itself takes for one header field, about
_OK: Final = 200  # HTTP status


@dataclass(frozen=True, slots=True)
class CaptureMask:
    """Which bodies of an exchange are kept; its headers always are."""

    request_body: bool = True
    response_body: bool = True


KEEP_ALL: Final = CaptureMask()


class CaptureBuilder:
    """The capture of a running request."""

    __slots__ = (
        "chunks", "mask", "path", "request_body", "request_headers", "request_truncated",
        "reserved", "response_headers", "size", "truncated",
    )  # fmt: skip

    def __init__(self, path: str, mask: CaptureMask, headers: Headers) -> None:
        self.path = path
        self.mask = mask
        self.request_headers = headers
        self.request_body = b""
        self.response_headers: Headers = ()
        self.chunks: list[bytes] | None = None
        self.size = 0
        """Bytes of both bodies."""
        self.reserved = 0
        self.truncated = False
        self.request_truncated = False

    @property
    def is_cheap(self) -> bool:
        """Whether `keep` has little to join."""
        response_size = self.size - len(self.request_body)
        return response_size < SMALL or (self.chunks is not None and len(self.chunks) == 1)


class _CapturedBody(msgspec.Struct, frozen=True, gc=False):
    data: bytes
    truncated: bool = False


class _KeptCapture(msgspec.Struct, frozen=True, gc=False):
    id: int
    path: str
    request_headers: Headers
    request_body: _CapturedBody | None
    response_headers: Headers
    response_body: _CapturedBody | None
    size: int

    def forget(self) -> None:
        """Do nothing: only the buffer holds the bodies."""

    def encoding(self) -> bytes:
        codings = (v for name, v in self.response_headers if name.lower() == b"content-encoding")
        return next(codings, b"").strip().lower()


class CompleteExchange(Protocol):
    """A completed request with whole bodies; it holds them itself until `forget`."""

    @property
    def id(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def recorded_path(self) -> str: ...
    @property
    def capture_mask(self) -> CaptureMask: ...
    @property
    def request_headers(self) -> Headers: ...
    @property
    def request_body(self) -> bytes: ...
    @property
    def response_headers(self) -> Headers: ...
    @property
    def response_body(self) -> bytes: ...
    def forget(self) -> None: ...


class Captures:
    """The buffer of captures: the oldest are removed first."""

    def __init__(self, limit: int, mask: HeaderMask, *, most: int = sys.maxsize) -> None:
        """A `limit` of 0 or less switches captures off; at most `most` captures are kept.

        A capture without a row cannot be found. Keeping it all the same cost 1.6 of the 24.6 µs
        of a small request, in cache misses.
        """
        self.mask = mask
        self._kept: deque[_KeptCapture | CompleteExchange] = deque()
        self.size = 0
        self._lock = threading.Lock()
        self._gathering = 0
        self.refused = 0
        self.resize(limit, most=most)

    def resize(self, limit: int, *, most: int = sys.maxsize) -> None:
        """Apply changed bounds; captures that no longer fit are removed."""
        with self._lock:
            self._limit = limit
            self._most = most
            self.enabled = limit > 0
            self._most_each = max(limit // 2, 2 * STEP)
            self._most_gathered = max(limit, 16 * STEP)
            self._evict()

    def clear(self) -> None:
        """Remove every capture: their ids mean nothing in another store."""
        with self._lock:
            limit, self._limit = self._limit, 0
            self._evict()
            self._limit = limit

    def takes(self, mask: CaptureMask, size: int) -> bool:
        """Whether a request body of `size` bytes may be kept."""
        return size <= self._most_each and mask.request_body

    # While the exchange runs: loop thread

    def begin(
        self, path: str, mask: CaptureMask, headers: Headers, body: bytes
    ) -> CaptureBuilder | None:
        """Start a capture; `None` when captures are off."""
        if self._limit <= 0:
            return None
        builder = CaptureBuilder(path, mask, headers)
        if body and mask.request_body:
            if self._reserve(builder, len(body)):
                builder.request_body = body
                builder.size = len(body)
            else:
                builder.request_truncated = True
        return builder

    def on_head(self, builder: CaptureBuilder, status: int, headers: Headers) -> None:
        builder.response_headers = headers
        if status == _OK and builder.mask.response_body:
            builder.chunks = []

    def on_data(self, builder: CaptureBuilder, chunk: bytes) -> None:
        """Add the next bytes of the response, unless the capture is too large."""
        if builder.chunks is None or builder.truncated:
            return
        size = builder.size + len(chunk)
        if size > builder.reserved and not self._reserve(builder, len(chunk)):
            builder.truncated = True
            return
        builder.size = size
        builder.chunks.append(chunk)

    def _reserve(self, builder: CaptureBuilder, more: int) -> bool:
        step = more if more > STEP else STEP  # noqa: FURB136 -- `max` costs three times as much here
        reserved, gathering = builder.reserved + step, self._gathering + step
        if reserved > self._most_each or gathering > self._most_gathered:
            return False
        builder.reserved, self._gathering = reserved, gathering
        return True

    def drop(self, builder: CaptureBuilder) -> None:
        """Free what a builder had reserved: it was kept, or will not be."""
        self._gathering -= builder.reserved
        builder.reserved = 0

    # Afterwards: the store's thread

    def keep(self, capture_id: int, builder: CaptureBuilder) -> bool:
        """Put a capture into the buffer; return False when it never fits."""
        chunks = builder.chunks
        body = request = None
        sent, received = builder.request_headers, builder.response_headers
        size = ITEM + weight(sent) + weight(received)
        if chunks:
            whole = chunks[0] if len(chunks) == 1 else b"".join(chunks)
            body = _CapturedBody(whole, truncated=builder.truncated)
            size += len(body.data)
        if builder.request_body or builder.request_truncated:
            request = _CapturedBody(builder.request_body, truncated=builder.request_truncated)
            size += len(request.data)
        kept = _KeptCapture(capture_id, builder.path, sent, request, received, body, size)
        with self._lock:
            if size > self._limit:
                self.refused += 1
                return False
            self.size += size
            self._kept.append(kept)
            self._evict()
            return True

    def keep_all(self, exchanges: Sequence[CompleteExchange]) -> None:
        """Put complete exchanges into the buffer; those that never fit forget their bodies."""
        with self._lock:
            sizes = [exchange.size for exchange in exchanges]
            if max(sizes) > self._limit:
                exchanges = self._fitting(exchanges)
                sizes = [exchange.size for exchange in exchanges]
            self._kept.extend(exchanges)
            self.size += sum(sizes)
            self._evict()

    def _fitting(self, exchanges: Sequence[CompleteExchange]) -> list[CompleteExchange]:
        limit = self._limit
        for exchange in exchanges:
            if exchange.size > limit:
                self.refused += 1
                exchange.forget()
        return [exchange for exchange in exchanges if exchange.size <= limit]

    def _evict(self) -> None:
        kept = self._kept
        take = kept.popleft
        size, limit = self.size, self._limit
        for _ in range(len(kept) - self._most):
            size -= take().size  # its row leaves as well (`most_captures`), and with it the bodies
        while size > limit and kept:
            oldest = take()
            size -= oldest.size
            oldest.forget()
        self.size = size

    def ids(self) -> frozenset[int]:
        with self._lock:
            return frozenset(kept.id for kept in self._kept)

    def has(self, capture_id: int) -> bool:
        return capture_id in self.ids()

    def _find(self, capture_id: int) -> _KeptCapture | None:
        with self._lock:
            found = next((kept for kept in self._kept if kept.id == capture_id), None)
            if found is None or isinstance(found, _KeptCapture):
                return found
            return _of_exchange(found)

    def show(self, capture_id: int) -> dict[str, object] | None:
        """Show a capture as the API does: masked, decoded, bodies in base64."""
        kept = self._find(capture_id)
        if kept is None:
            return None
        body, coded = _decoded(kept)
        without: frozenset[bytes] = frozenset(() if coded else (b"content-encoding",))
        shown: dict[str, object] = {
            "id": capture_id,
            "req_path": kept.path,
            "req_headers": self.mask.flatten(kept.request_headers),
            "req_body": _base64(kept.request_body.data if kept.request_body else None),
            "resp_headers": self.mask.flatten(kept.response_headers, without=without),
            "resp_body": _base64(body),
        }
        if kept.request_body and kept.request_body.truncated:
            shown["req_truncated"] = True
        if kept.response_body and kept.response_body.truncated:
            shown["resp_truncated"] = True
        return shown


def most_captures(settings: Settings) -> int:
    """How many captures can be found: those of the rows in memory, or of any row in a file."""
    return settings.metrics_max_in_memory if settings.store_path is None else sys.maxsize


def weight(headers: Headers) -> int:
    """Estimate the memory of a head."""
    return FIELD * len(headers) + sum(map(len, chain.from_iterable(headers)))


def _of_exchange(exchange: CompleteExchange) -> _KeptCapture:
    mask = exchange.capture_mask
    sent = exchange.request_body if mask.request_body else b""
    received = exchange.response_body if mask.response_body else b""
    return _KeptCapture(
        exchange.id,
        exchange.recorded_path,
        exchange.request_headers,
        _CapturedBody(sent) if sent else None,
        exchange.response_headers,
        _CapturedBody(received) if received else None,
        exchange.size,
    )


def _decoded(kept: _KeptCapture) -> tuple[bytes | None, bool]:
    """Return the response body without its content coding, and whether it still has one."""
    if kept.response_body is None:
        return None, False
    body = kept.response_body.data
    encoding = kept.encoding()
    if encoding and (kept.response_body.truncated or decoder_for(encoding) is None):
        return body, True
    try:
        return decode_whole(encoding, body), False
    except DecodingFailedError:
        return body, True


def _base64(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()
