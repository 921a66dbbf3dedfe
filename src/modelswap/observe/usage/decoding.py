"""Decodes the content coding of a response for reading.

Guarantees: memory and time are bounded. Output comes in pieces; a body that grows beyond `MOST` fails.
Does not: know codings that the standard library lacks.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final, Protocol

from modelswap.units import Bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PIECE: Final = Bytes(64 << 10)  # output of one step: fits into a processor's cache
MOST: Final = Bytes(64 << 20)
"""Of decoded output; a larger body is too large to be read, or a decompression bomb."""

_READABLE: Final = frozenset({b"gzip", b"deflate"})


class Decompressor(Protocol):
    """The type of `zlib.decompressobj()`."""

    @property
    def eof(self) -> bool: ...
    @property
    def unconsumed_tail(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = 0, /) -> bytes: ...


class DecodingFailedError(Exception):
    """The body is not what its Content-Encoding says, or too large."""


class ResponseDecoder:
    """Decodes gzip or deflate, fed in any pieces."""

    def __init__(self, coding: str) -> None:
        self._stream = zlib.decompressobj(31) if coding == "gzip" else None
        self._start = b""
        self._size = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield decoded pieces.

        Raises:
            DecodingFailedError: see there.
        """
        if self._stream is None:
            self._start += data
            if len(self._start) < 2:  # noqa: PLR2004 -- the two bytes of a zlib header
                return
            data = self._start
            self._stream = zlib.decompressobj(15 if _has_zlib_header(data) else -15)
        try:
            yield from self._pieces(self._stream, data)
        except zlib.error as error:
            raise DecodingFailedError(f"response decompression failed: {error}") from error

    def _pieces(self, stream: Decompressor, data: bytes) -> Iterator[bytes]:
        while data and not stream.eof:
            piece = stream.decompress(data, PIECE)
            data = stream.unconsumed_tail
            self._size += len(piece)
            if self._size > MOST:
                raise DecodingFailedError("response decompression failed: too large")
            if piece:
                yield piece
            elif not data:
                return


def _has_zlib_header(data: bytes) -> bool:
    return data[0] & 0x0F == 8 and (data[0] << 8 | data[1]) % 31 == 0  # noqa: PLR2004 -- RFC 1950


def decoder_for(value: bytes) -> ResponseDecoder | None:
    """Make a decoder for a Content-Encoding; `None`: the body is read as it is."""
    match value.strip().lower():
        case b"gzip" | b"x-gzip":
            return ResponseDecoder("gzip")
        case b"deflate":
            return ResponseDecoder("deflate")
        case _:
            return None


def readable(values: Iterable[bytes]) -> bytes:
    """Keep of these `Accept-Encoding` values the codings that `ResponseDecoder` decodes.

    Without any: `identity`, so that the server uses no other coding.
    """
    members = [member.strip() for value in values for member in value.split(b",")]
    kept = [m for m in members if m.partition(b";")[0].strip().lower() in _READABLE]
    return b", ".join(kept) or b"identity"


def decode_whole(value: bytes, body: bytes) -> bytes:
    """Decode a whole body.

    Raises:
        DecodingFailedError: see there.
    """
    decoder = decoder_for(value)
    return body if decoder is None else b"".join(decoder.feed(body))
