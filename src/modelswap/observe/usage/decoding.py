"""Content codings of an answer, undone for reading.

Law: memory and time are bounded: output comes in pieces, and a body that grows
beyond `MOST` is given up. It refuses codings that the standard library lacks.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PIECE: Final = 64 << 10
MOST: Final = 64 << 20
"""Decoded bytes after which a body counts as too large to be read (or as a bomb)."""


_READABLE: Final = frozenset({b"gzip", b"deflate"})


class Stream(Protocol):
    """What `zlib.decompressobj` makes."""

    @property
    def eof(self) -> bool: ...
    @property
    def unconsumed_tail(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = 0, /) -> bytes: ...


class DecodingFailedError(Exception):
    """The body is not what its Content-Encoding says, or grows without bound."""


class ResponseDecoder:
    """Undoes gzip or deflate, fed in any pieces."""

    def __init__(self, coding: str) -> None:
        self._stream = zlib.decompressobj(31) if coding == "gzip" else None
        self._start = b""
        self._size = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield decoded pieces; raises `DecodingFailedError`."""
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

    def _pieces(self, stream: Stream, data: bytes) -> Iterator[bytes]:
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
    """A decoder for a Content-Encoding; `None`: the body is read as it is."""
    match value.strip().lower():
        case b"gzip" | b"x-gzip":
            return ResponseDecoder("gzip")
        case b"deflate":
            return ResponseDecoder("deflate")
        case _:
            return None


def readable(values: Iterable[bytes]) -> bytes:
    """What is left of these `Accept-Encoding` values: codings that a `ResponseDecoder` undoes, as they came.

    None left: `identity`, so that the server takes nothing else either.
    """
    members = [member.strip() for value in values for member in value.split(b",")]
    kept = [m for m in members if m.partition(b";")[0].strip().lower() in _READABLE]
    return b", ".join(kept) or b"identity"


def decode_whole(value: bytes, body: bytes) -> bytes:
    """The body as it was before it was encoded; raises `DecodingFailedError`."""
    decoder = decoder_for(value)
    return body if decoder is None else b"".join(decoder.feed(body))
