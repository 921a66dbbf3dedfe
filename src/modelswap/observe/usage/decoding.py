"""Decodes the content coding of a response for reading.

Guarantees: memory and time are bounded. Output comes in pieces; a body that grows beyond `MOST` fails.
Does not: know codings that the standard library lacks.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

from modelswap.units import Bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PIECE: Final = Bytes(64 << 10)  # output of one step: fits into a processor's cache
MOST: Final = Bytes(64 << 20)
"""Of decoded output; a larger body is too large to be read, or a decompression bomb."""

_READABLE: Final = frozenset({b"gzip", b"deflate"})


class DecodingFailedError(Exception):
    """The body is not what its Content-Encoding says, or too large."""


class ResponseDecoder:
    """Decodes gzip or deflate, fed in any pieces."""

    def __init__(self, *, is_gzip: bool) -> None:
        self._stream = zlib.decompressobj(31) if is_gzip else None
        self._start = b""
        self._size = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield decoded pieces; raise DecodingFailedError."""
        if self._stream is None:
            self._start += data
            if len(self._start) < 2:  # noqa: PLR2004 -- the two bytes of a zlib header
                return
            data = self._start
            self._stream = zlib.decompressobj(15 if _has_zlib_header(data) else -15)
        while data and not self._stream.eof:
            try:
                piece = self._stream.decompress(data, PIECE)
            except zlib.error as error:
                raise DecodingFailedError(f"response decompression failed: {error}") from error
            data = self._stream.unconsumed_tail
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
    coding = value.strip().lower()
    is_gzip = coding in {b"gzip", b"x-gzip"}
    return ResponseDecoder(is_gzip=is_gzip) if is_gzip or coding == b"deflate" else None


def readable(values: Iterable[bytes]) -> bytes:
    """Keep of these `Accept-Encoding` values the codings that `ResponseDecoder` decodes.

    Without any: `identity`, so that the server uses no other coding.
    """
    members = [member.strip() for value in values for member in value.split(b",")]
    kept = [m for m in members if m.partition(b";")[0].strip().lower() in _READABLE]
    return b", ".join(kept) or b"identity"


def decode_whole(value: bytes, body: bytes) -> bytes:
    """Decode a whole body; raise DecodingFailedError."""
    decoder = decoder_for(value)
    return body if decoder is None else b"".join(decoder.feed(body))
