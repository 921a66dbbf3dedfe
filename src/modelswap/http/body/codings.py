"""Content codings of request bodies: taken off piece by piece, gzip and deflate.

Guarantees: one step makes `STEP` bytes at most, and no body, also none in between two codings,
grows beyond the limit: a small body that would become huge is refused while it grows.
"""

from __future__ import annotations

import asyncio
import zlib
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from modelswap.units import Bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .protocols import BodySink, ClientBody

ACCEPTED: Final = "gzip, deflate"
"""For `Accept-Encoding` of a refusal."""
STEP: Final = Bytes(256 << 10)
"""Bytes made at a time: below a millisecond of work, then the loop goes on."""
_SLICE: Final = Bytes(16 << 10)
"""Bytes read at a time: what is left behind the end of a gzip member is copied."""
_MAX_CODINGS: Final = 3
"""Codings on top of each other: more have no use."""
_GZIP: Final = 31  # `wbits` of zlib, as are the next two
_ZLIB: Final = 15  # with a zlib header
_RAW: Final = -15  # without any
_NAMES: Final = {b"gzip": b"gzip", b"x-gzip": b"gzip", b"deflate": b"deflate"}


class UnknownCodingError(Exception):
    """The text names it."""


class BadCodingError(ValueError): ...


class GrownError(Exception): ...


def codings_of(values: Sequence[bytes]) -> tuple[bytes, ...]:
    """Read `Content-Encoding`; `identity` is none. Raise UnknownCodingError."""
    found: list[bytes] = []
    for token in b",".join(values).lower().split(b","):
        name = token.strip(b" \t")
        if name in {b"", b"identity"}:
            continue
        known = _NAMES.get(name)
        if known is None:
            raise UnknownCodingError(name.decode("latin-1")[:40])
        found.append(known)
    if len(found) > _MAX_CODINGS:
        raise UnknownCodingError(", ".join(name.decode() for name in found)[:40])
    return tuple(found)


class _Input:
    def __init__(self) -> None:
        self._parts: deque[bytes] = deque()

    def add(self, data: bytes) -> None:
        self._parts.extend(data[at : at + _SLICE] for at in range(0, len(data), _SLICE))

    @property
    def has_more(self) -> bool:
        return bool(self._parts)

    @property
    def is_whole(self) -> bool:
        return True

    def take(self) -> bytes:
        return self._parts.popleft() if self._parts else b""


class _Coding:
    """One coding, taken off what `source` gives."""

    def __init__(self, name: bytes, source: _Input | _Coding, limit: int) -> None:
        self._name = name
        self._source = source
        self._limit = limit
        self._inflate: Any = None
        """A `zlib.decompressobj` in the middle of a member."""
        self._pending = b""
        self._is_full = False
        """The last step made all that it may: there can be more without more input."""
        self._has_ended = False
        self._size = 0

    @property
    def has_more(self) -> bool:
        return self._is_full or bool(self._pending) or self._source.has_more

    @property
    def is_whole(self) -> bool:
        """Whether what came so far is complete; nothing at all is."""
        return self._inflate is None and not self._pending and self._source.is_whole

    def take(self) -> bytes:
        """Make the next bytes; none when there is too little input, or a step made nothing."""
        if not self._is_full and not self._pending:
            self._pending = self._source.take()
            if not self._pending:
                return b""
        inflate = self._inflate or self._begin()
        if inflate is None:
            return b""
        try:
            made: bytes = inflate.decompress(self._pending, STEP)
        except zlib.error:
            raise BadCodingError(f"the request body is not valid {self._name.decode()}") from None
        self._has_ended = inflate.eof
        self._pending = inflate.unused_data or inflate.unconsumed_tail
        self._is_full = len(made) == STEP and not self._has_ended
        if self._has_ended:
            self._inflate = None
        self._size += len(made)
        if self._size > self._limit:
            raise GrownError
        return made

    def _begin(self) -> Any:
        """Begin a member, if what is there begins one."""
        if self._has_ended:
            self._pending = self._pending.lstrip(b"\0")  # as gzip itself does
            if not self._pending:
                return None
            if self._name != b"gzip":
                raise BadCodingError("the request body goes on behind its end")
        if self._name == b"gzip":
            bits = _GZIP
        else:  # RFC 9110 says zlib; some send what is in it
            bits = _ZLIB if self._pending[0] & 0x0F == zlib.DEFLATED else _RAW
        self._inflate = zlib.decompressobj(bits)
        return self._inflate


class ContentDecoder:
    def __init__(self, codings: Sequence[bytes], limit: int) -> None:
        self._input = _Input()
        last: _Input | _Coding = self._input
        for name in reversed(codings):
            last = _Coding(name, last, limit)
        self._last = last

    def feed(self, data: bytes) -> None:
        self._input.add(data)

    @property
    def has_more(self) -> bool:
        return self._last.has_more

    def step(self) -> bytes:
        """Make up to `STEP` bytes, perhaps none. Raise BadCodingError or GrownError."""
        return self._last.take()

    def finish(self) -> None:
        """All was fed, and nothing more is made. Raise BadCodingError when the end is missing."""
        if not self._last.is_whole:
            raise BadCodingError("the compressed request body ends too early")


def decoded(body: bytes, codings: Sequence[bytes], limit: int) -> bytes:
    """Take the codings off a small body at once. Raise BadCodingError or GrownError."""
    if not codings:
        return body
    decoder = ContentDecoder(codings, limit)
    decoder.feed(body)
    parts: list[bytes] = []
    while decoder.has_more:
        parts.append(decoder.step())
    decoder.finish()
    return b"".join(parts)


class DecodedStream:
    """The body of an exchange without its codings, no faster than it is taken."""

    def __init__(
        self,
        exchange: ClientBody,
        codings: Sequence[bytes],
        *,
        limit: int,
        bad: Callable[[Exception], None],
    ) -> None:
        """`bad` is told once of a BadCodingError or GrownError; nothing follows."""
        self._exchange = exchange
        self._decoder = ContentDecoder(codings, limit)
        self._bad = bad
        self._sink: BodySink | None = None
        self._is_paused = False
        """By the taker."""
        self._is_due = False
        """The next step is on its way."""
        self._has_ended = False

    @property
    def body_length(self) -> None:
        return

    def stream_body(self, sink: BodySink) -> None:
        self._sink = sink
        self._exchange.stream_body(self)

    def pause_body(self) -> None:
        self._is_paused = True
        self._exchange.pause_body()

    def resume_body(self) -> None:
        self._is_paused = False
        self._go_on()

    def on_data(self, data: bytes) -> None:
        self._decoder.feed(data)
        if not self._is_due:
            self._step()

    def on_end(self) -> None:
        self._has_ended = True
        if not self._is_due:
            self._step()

    def _step(self) -> None:
        """Decode one piece, and come back for the next: the loop goes on between."""
        self._is_due = False
        sink = self._sink
        if sink is None or self._is_paused or self._exchange.finished:
            return
        try:
            data = self._decoder.step()
            if data:
                sink.on_data(data)
            if self._has_ended and not self._decoder.has_more and self._sink is sink:
                self._decoder.finish()
                self._sink = None
                sink.on_end()
                return
        except (BadCodingError, GrownError) as wrong:
            self._sink = None
            self._bad(wrong)
            return
        self._go_on()

    def _go_on(self) -> None:
        if self._is_paused or self._is_due or self._sink is None:
            return
        if self._decoder.has_more or self._has_ended:
            self._is_due = True
            self._exchange.pause_body()
            asyncio.get_running_loop().call_soon(self._step)
        else:
            self._exchange.resume_body()
