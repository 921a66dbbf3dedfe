"""Requests and answers kept for looking at.

Law: bounded in all: what is kept by `captureBuffer` and the number of records in
memory, what is being gathered by the same amount again, one item by a share of
it. Credentials are masked before anything is shown. Bodies are kept as they
came: compressing a prompt costs ten times what passing it on does. `show`
belongs to any thread but the loop's.
"""

from __future__ import annotations

import base64
import sys
import threading
from collections import deque
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from .usage.decoding import DecodingFailedError, decode_whole, decoder_for

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .logs.redaction import HeaderMask, Headers

STEP: Final = 64 << 10
"""Gathered bytes are reserved in steps of this size."""
SMALL: Final = 64 << 10
ITEM: Final = 512
FIELD: Final = 128
"""What Python itself takes for one item and one header field, about."""
_OK: Final = 200


@dataclass(frozen=True, slots=True)
class CaptureMask:
    """Which bodies of an exchange are kept; its headers always are."""

    request_body: bool = True
    response_body: bool = True


KEEP_ALL: Final = CaptureMask()


class CaptureBuilder:
    """One exchange while it runs."""

    __slots__ = (
        "chunks",
        "mask",
        "path",
        "request_body",
        "request_headers",
        "request_truncated",
        "reserved",
        "response_headers",
        "size",
        "truncated",
    )

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
        """Whether `keep` costs next to nothing: it has little to join."""
        answered = self.size - len(self.request_body)
        return answered < SMALL or (self.chunks is not None and len(self.chunks) == 1)


class _Body(msgspec.Struct, frozen=True, gc=False):
    data: bytes
    truncated: bool = False


class _Kept(msgspec.Struct, frozen=True, gc=False):
    id: int
    path: str
    request_headers: Headers
    request_body: _Body | None
    response_headers: Headers
    response_body: _Body | None
    size: int

    def forget(self) -> None:
        """Nothing but the buffer holds it."""

    def encoding(self) -> bytes:
        for name, value in self.response_headers:
            if name.lower() == b"content-encoding":
                return value.strip().lower()
        return b""


class Whole(Protocol):
    """A finished exchange with whole bodies, which holds them itself until `forget`."""

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
    """The newest exchanges that fit into the buffer; the oldest leave first."""

    def __init__(self, limit: int, mask: HeaderMask, *, most: int = sys.maxsize) -> None:
        """`limit` in bytes; 0 or less switches captures off. `most`: so many of them.

        Nobody finds a capture whose row has left, and what is kept for nobody is in the way of the
        processor's caches: 1.6 of the 24.6 µs that a small request cost.
        """
        self._limit = limit
        self._most = most
        self.enabled = limit > 0
        self.mask = mask
        self._kept: deque[_Kept | Whole] = deque()
        self._size = 0
        self._lock = threading.Lock()
        self._gathering = 0
        self._most_each = max(limit // 2, 2 * STEP)
        self._most_gathered = max(limit, 16 * STEP)
        self.refused = 0

    @property
    def size(self) -> int:
        return self._size

    def resize(self, limit: int, *, most: int = sys.maxsize) -> None:
        """Take over changed bounds; what no longer fits leaves."""
        with self._lock:
            self._limit = limit
            self._most = most
            self.enabled = limit > 0
            self._most_each = max(limit // 2, 2 * STEP)
            self._most_gathered = max(limit, 16 * STEP)
            self._evict()

    def clear(self) -> None:
        """Forget every exchange: their ids mean nothing in another store."""
        with self._lock:
            limit, self._limit = self._limit, 0
            self._evict()
            self._limit = limit

    def takes(self, mask: CaptureMask, size: int) -> bool:
        """Whether a request may be kept with a body of *size* bytes."""
        return size <= self._most_each and mask.request_body

    # While the exchange runs: loop thread

    def begin(
        self, path: str, mask: CaptureMask, headers: Headers, body: bytes
    ) -> CaptureBuilder | None:
        """Start gathering; `None` when captures are off."""
        if self._limit <= 0:
            return None
        draft = CaptureBuilder(path, mask, headers)
        if body and mask.request_body:
            if self._reserve(draft, len(body)):
                draft.request_body = body
                draft.size = len(body)
            else:
                draft.request_truncated = True
        return draft

    def on_head(self, draft: CaptureBuilder, status: int, headers: Headers) -> None:
        draft.response_headers = headers
        if status == _OK and draft.mask.response_body:
            draft.chunks = []

    def on_data(self, draft: CaptureBuilder, chunk: bytes) -> None:
        """Take the next bytes of the answer, unless the item has become too large."""
        if draft.chunks is None or draft.truncated:
            return
        size = draft.size + len(chunk)
        if size > draft.reserved and not self._reserve(draft, len(chunk)):
            draft.truncated = True
            return
        draft.size = size
        draft.chunks.append(chunk)

    def _reserve(self, draft: CaptureBuilder, more: int) -> bool:
        step = more if more > STEP else STEP  # noqa: FURB136 -- `max` costs three times as much here
        if draft.reserved + step > self._most_each or self._gathering + step > self._most_gathered:
            return False
        draft.reserved += step
        self._gathering += step
        return True

    def drop(self, draft: CaptureBuilder) -> None:
        """Give back what a draft had reserved: it was kept, or will not be."""
        self._gathering -= draft.reserved
        draft.reserved = 0

    # Afterwards: the store's thread

    def keep(self, capture_id: int, draft: CaptureBuilder) -> bool:
        """Put a finished draft into the buffer. False when it does not fit at all."""
        chunks = draft.chunks
        body = request = None
        size = ITEM + weight(draft.request_headers) + weight(draft.response_headers)
        if chunks:
            whole = chunks[0] if len(chunks) == 1 else b"".join(chunks)
            body = _Body(whole, truncated=draft.truncated)
            size += len(body.data)
        if draft.request_body or draft.request_truncated:
            request = _Body(draft.request_body, truncated=draft.request_truncated)
            size += len(request.data)
        kept = _Kept(
            capture_id,
            draft.path,
            draft.request_headers,
            request,
            draft.response_headers,
            body,
            size,
        )
        with self._lock:
            if size > self._limit:
                self.refused += 1
                return False
            self._size += size
            self._kept.append(kept)
            self._evict()
            return True

    def keep_all(self, exchanges: Iterable[Whole]) -> None:
        """Put whole exchanges into the buffer; those that do not fit at all forget their bodies."""
        kept = self._kept
        with self._lock:
            limit = self._limit
            for exchange in exchanges:
                size = exchange.size
                if size > limit:
                    self.refused += 1
                    exchange.forget()
                else:
                    self._size += size
                    kept.append(exchange)
            self._evict()

    def _evict(self) -> None:
        kept = self._kept
        while kept and (self._size > self._limit or len(kept) > self._most):
            oldest = kept.popleft()
            self._size -= oldest.size
            oldest.forget()

    def ids(self) -> frozenset[int]:
        """What can be shown."""
        with self._lock:
            return frozenset(kept.id for kept in self._kept)

    def has(self, capture_id: int) -> bool:
        return capture_id in self.ids()

    def _find(self, capture_id: int) -> _Kept | None:
        with self._lock:
            found = next((kept for kept in self._kept if kept.id == capture_id), None)
            return found if found is None or isinstance(found, _Kept) else _of_whole(found)

    def show(self, capture_id: int) -> dict[str, object] | None:
        """One capture as the API shows it: masked, decoded, bodies in base64."""
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


def weight(headers: Headers) -> int:
    """What a head takes in memory, about."""
    return FIELD * len(headers) + sum(map(len, chain.from_iterable(headers)))


def _of_whole(whole: Whole) -> _Kept:
    mask = whole.capture_mask
    sent = whole.request_body if mask.request_body else b""
    answer = whole.response_body if mask.response_body else b""
    return _Kept(
        whole.id,
        whole.recorded_path,
        whole.request_headers,
        _Body(sent) if sent else None,
        whole.response_headers,
        _Body(answer) if answer else None,
        whole.size,
    )


def _decoded(kept: _Kept) -> tuple[bytes | None, bool]:
    """The answer's body without its content coding, and whether it still has one."""
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
