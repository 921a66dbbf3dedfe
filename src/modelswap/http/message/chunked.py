"""Chunked framing, read incrementally: strictly in requests, with harmless slips in responses.

The reader tells where the body ends, which httptools does not. Extensions and trailers are checked
and dropped.
Memory: one incomplete line, at most `MAX_LINE`.
"""

from __future__ import annotations

import re

from modelswap.units import Bytes

MAX_LINE = Bytes(4096)
"""Bytes of a size line with its extensions, and of one trailer line: as much as of a long header."""
MAX_TRAILERS = Bytes(16384)
"""Bytes of all trailers together: a few long lines."""

_TRAILER = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*")
_FRAMING = frozenset({b"transfer-encoding", b"content-length", b"host"})
"""Too late in a trailer: a program that reads it there would read another message."""
_SIZE_START = re.compile(rb"[0-9A-Fa-f]{0,15}(?:;[\t\x20-\x7e\x80-\xff]*)?\r?")
_PADDED_SIZE_START = re.compile(rb"[0-9A-Fa-f]*[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?\r?")
_SHOWN = Bytes(20)
"""Bytes of a size line that an error quotes."""

_PLAIN_SIZE = re.compile(rb"[0-9A-Fa-f]{1,8}")
_SIZES: dict[bytes, int] = {}
"""Size lines read before."""
known_size = _SIZES.get
"""The size that a size line says; 0 or None: it has to be read."""
_KNOWN_SIZES = 4096
"""Size lines that are kept: 0.5 MiB at most, for the whole process."""

_SIZE, _DATA, _DATA_END, _TRAILERS, _DONE = range(5)


class ChunkError(ValueError): ...


class ChunkReader:
    __slots__ = ("_left", "_line", "_state", "_trailer_bytes", "error", "rest")
    _size_line = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[\t\x20-\x7e\x80-\xff]*)?")

    def __init__(self) -> None:
        self._state = _SIZE
        self._left = 0
        self._line = b""
        self._trailer_bytes = 0
        self.error = ""
        """Why the framing is broken; nothing more may be fed then."""
        self.rest = b""
        """What came behind the body, once `done`."""

    @property
    def done(self) -> bool:
        return self._state == _DONE

    @property
    def had_last_chunk(self) -> bool:
        """The empty line behind it may be missing (RFC 9112 8)."""
        return not self.error and self._state in (_TRAILERS, _DONE)

    def single(self, data: bytes) -> int:
        """Where the body of `data` starts when that is exactly one chunk, as in most event streams; else 0.

        The body ends 2 before the end.
        """
        if self._state or self._line:
            return 0
        start = data.find(b"\r\n", 1, 10) + 2
        size = _SIZES.get(data[: start - 2])
        if size is None:
            size = _learn(data[: start - 2]) if start > 2 else 0  # noqa: PLR2004 - found
        return start if size and len(data) == start + size + 2 and data.endswith(b"\r\n") else 0

    def feed(self, data: bytes) -> list[bytes]:
        out: list[bytes] = []
        try:
            self._feed(data, out)
        except ChunkError as wrong:
            self.error = str(wrong)
        return out

    def _feed(self, data: bytes, out: list[bytes]) -> None:
        at = 0
        size = len(data)
        while at < size and self._state != _DONE:
            if self._state == _DATA:
                at = self._take(data, at, out)
            elif self._state == _DATA_END:
                at = self._end_of_data(data, at)
            else:
                at = self._line_at(data, at)
        if self._state == _DONE:
            self.rest = data[at:]

    def _take(self, data: bytes, at: int, out: list[bytes]) -> int:
        end = at + self._left
        piece = data[at:end]
        out.append(piece)
        self._left -= len(piece)
        if self._left:
            return len(data)
        if data.startswith(b"\r\n", end):
            self._state = _SIZE
            return end + 2
        self._state = _DATA_END
        return end

    def _end_of_data(self, data: bytes, at: int) -> int:
        """The CRLF behind the data, come late or in two pieces."""
        missing = b"\r\n"[len(self._line) :]
        seen = data[at : at + len(missing)]
        if not missing.startswith(seen):
            raise ChunkError("a chunk is longer than its size says")
        self._line += seen
        if self._line == b"\r\n":
            self._line = b""
            self._state = _SIZE
        return at + len(seen)

    def _line_at(self, data: bytes, at: int) -> int:
        """A size or a trailer that starts, or goes on, at `at`."""
        line = self._line
        if line and line[-1] == 13 and data[at] == 10:  # noqa: PLR2004 - CR at the end, LF now
            self._line = b""
            self._on_line(line[:-1])
            return at + 1
        end = data.find(b"\r\n", at)
        stop = len(data) if end < 0 else end
        line += data[at:stop]
        if len(line) > MAX_LINE:
            raise ChunkError("a chunk's size line or a trailer is too long")
        if end < 0:
            self._check_partial(line)
            self._line = line
            return stop
        self._line = b""
        self._on_line(line)
        return end + 2

    def _check_partial(self, line: bytes) -> None:
        """Refuse at once what no later byte can mend."""
        if self._state == _SIZE and not _SIZE_START.fullmatch(line):
            raise ChunkError(self._not_a_size(line))
        if b"\n" in line or b"\r" in line[:-1]:
            raise ChunkError("bare CR or LF in chunked framing")

    def _not_a_size(self, _line: bytes) -> str:
        return "malformed chunk size"

    def _on_line(self, line: bytes) -> None:
        if self._state == _TRAILERS:
            self._on_trailer(line)
            return
        match = self._size_line.fullmatch(line)
        if match is None:
            raise ChunkError(self._not_a_size(line))
        self._left = int(match[1], 16)
        self._state = _DATA if self._left else _TRAILERS

    def _on_trailer(self, line: bytes) -> None:
        if not line:
            self._state = _DONE
            return
        self._trailer_bytes += len(line)
        if self._trailer_bytes > MAX_TRAILERS:
            raise ChunkError("too many trailers")
        self._check_trailer(line)

    def _check_trailer(self, line: bytes) -> None:
        if not _TRAILER.fullmatch(line):
            raise ChunkError("malformed trailer")
        if line.partition(b":")[0].lower() in _FRAMING:
            raise ChunkError("a trailer about the message's framing")


class ResponseChunkReader(ChunkReader):
    """Reads what backends send.

    A bare LF ends a line (but not a chunk's data), a size may be padded with zeros or spaces, and every
    trailer is dropped. Each of these has one meaning.
    """

    __slots__ = ()
    _size_line = re.compile(rb"0*([0-9A-Fa-f]{1,15})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?")

    def _not_a_size(self, line: bytes) -> str:
        return f"malformed chunk size {line[:_SHOWN].decode('latin-1')!r}"

    def _line_at(self, data: bytes, at: int) -> int:
        end = data.find(b"\n", at)
        stop = len(data) if end < 0 else end
        line = self._line + data[at:stop]
        if len(line) > MAX_LINE:
            raise ChunkError("a chunk's size line or a trailer is too long")
        if end < 0:
            if self._state == _SIZE and not _PADDED_SIZE_START.fullmatch(line):
                raise ChunkError(self._not_a_size(line))
            self._line = line
            return stop
        self._line = b""
        self._on_line(line.removesuffix(b"\r"))
        return end + 1

    def _check_trailer(self, line: bytes) -> None:
        if b":" not in line or b"\r" in line or b"\0" in line:
            raise ChunkError("malformed trailer")


def _learn(line: bytes) -> int:
    size = int(line, 16) if _PLAIN_SIZE.fullmatch(line) else 0
    if len(_SIZES) < _KNOWN_SIZES:
        _SIZES[line] = size
    return size
