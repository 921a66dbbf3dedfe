"""Multipart forms: read and edited while they stream by.

Guarantees: a form has one reading: what the next program could read differently is refused. What is
not edited keeps every byte.
Memory: one part's headers, the values asked for and one delimiter; never a file.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from modelswap.deferred import dataclass, regex
from modelswap.units import Bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_HEADERS = Bytes(16 << 10)
"""Bytes of one part's headers: far more than a name, a file name and a type."""
MAX_VALUE = Bytes(64 << 10)
"""Bytes of a value that is looked for: the name of a model is short."""
MAX_PARTS = 1000
"""Parts of one form: each costs work, however small it is."""
MAX_PREAMBLE = Bytes(4096)
"""Bytes before the first boundary, which no common client sends."""

_BOUNDARY = regex(rb'(?:^|;)[ \t]*boundary=(?:"([^"]{1,70})"|([^";, \t]{1,70}))', re.IGNORECASE)
_PARAM = regex(rb';[ \t]*([A-Za-z*]+)=(?:"((?:[^"\\]|\\.)*)"|([^";\s]+))[ \t]*')
_DISPOSITION = regex(rb"form-data((?:[ \t]*;.*)?)", re.IGNORECASE)
_ESCAPE = regex(rb"\\(.)")
_WANTED = frozenset({"model", "stream"})
_PREAMBLE, _AFTER_DELIMITER, _HEADERS, _DATA, _EPILOGUE = range(5)


def boundary_of(content_type: bytes) -> bytes:
    """Take the boundary out of a `multipart/form-data` type; raise ValueError."""
    kind, _, parameters = content_type.partition(b";")
    if kind.strip().lower() != b"multipart/form-data":
        raise ValueError("the body is not multipart/form-data")
    found = _BOUNDARY.findall(parameters)
    if len(found) != 1:
        raise ValueError("the form has no valid boundary")
    quoted, plain = found[0]
    boundary: bytes = quoted or plain
    if boundary.endswith(b" ") or not all(32 <= byte < 127 for byte in boundary):  # noqa: PLR2004 - ASCII
        raise ValueError("the form has no valid boundary")
    return boundary


@dataclass(frozen=True, slots=True)
class Part:
    name: str
    is_file: bool
    raw: bytes
    """Delimiter and headers as received, the empty line included."""


@dataclass(frozen=True, slots=True)
class Data:
    data: bytes


@dataclass(frozen=True, slots=True)
class Closing:
    """The last delimiter, and whatever follows it."""

    raw: bytes


Piece = Part | Data | Closing


class FormReader:
    """Cuts a form into pieces, whose bytes together are the form's; raises ValueError."""

    def __init__(self, content_type: bytes) -> None:
        self._delimiter = b"\r\n--" + boundary_of(content_type)
        self._held = b""
        self._raw = b""
        """Delimiter that belongs to the part whose headers are being read."""
        self._state = _PREAMBLE
        self._parts = 0

    @property
    def complete(self) -> bool:
        return self._state == _EPILOGUE

    def feed(self, data: bytes) -> list[Piece]:
        """Return the pieces that are certain now."""
        held = self._held + data if self._held else data
        out: list[Piece] = []
        while True:
            before = (self._state, len(held))
            held = self._step(held, out)
            if (self._state, len(held)) == before:
                break
        self._held = held
        return out

    def finish(self) -> None:
        """Raise ValueError for a form that did not end."""
        if not self.complete:
            raise ValueError("the form ends before its last boundary")

    def _step(self, held: bytes, out: list[Piece]) -> bytes:
        if self._state == _DATA:
            return self._data(held, out)
        if self._state == _PREAMBLE:
            return self._preamble(held)
        if self._state == _AFTER_DELIMITER:
            return self._after_delimiter(held, out)
        if self._state == _HEADERS:
            return self._headers(held, out)
        if held:
            out.append(Closing(held))
        return b""

    def _preamble(self, held: bytes) -> bytes:
        first = self._delimiter[2:]
        if held.startswith(first):
            self._enter(first)
            return held[len(first) :]
        at = held.find(self._delimiter)
        if (at if at >= 0 else len(held)) > MAX_PREAMBLE:
            raise ValueError("the form does not begin with its boundary")
        if at < 0:
            return held
        end = at + len(self._delimiter)
        self._enter(held[:end])
        return held[end:]

    def _enter(self, raw: bytes) -> None:
        self._raw = raw
        self._state = _AFTER_DELIMITER

    def _after_delimiter(self, held: bytes, out: list[Piece]) -> bytes:
        if len(held) < 2:  # noqa: PLR2004 - CRLF or two dashes
            return held
        if held.startswith(b"--"):
            self._state = _EPILOGUE
            out.append(Closing(self._raw + b"--"))
            return held[2:]
        if not held.startswith(b"\r\n"):
            raise ValueError("malformed boundary within the form")
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise ValueError("the form has too many parts")
        self._state = _HEADERS
        return held

    def _headers(self, held: bytes, out: list[Piece]) -> bytes:
        """Read from the delimiter's CRLF to the empty line."""
        end = held.find(b"\r\n\r\n") + 4
        if max(len(held) if end < 4 else 0, end) > MAX_HEADERS:  # noqa: PLR2004 - not found
            raise ValueError("a part's headers are too large")
        if end < 4:  # noqa: PLR2004 - not found
            return held
        out.append(_part(held[2 : end - 4], self._raw + held[:end]))
        self._state = _DATA
        return held[end:]

    def _data(self, held: bytes, out: list[Piece]) -> bytes:
        delimiter = self._delimiter
        at = held.find(delimiter)
        if at >= 0:
            if at:
                out.append(Data(held[:at]))
            self._enter(delimiter)
            return held[at + len(delimiter) :]
        sure = held.rfind(b"\r", max(0, len(held) - len(delimiter) + 1))
        if sure < 0:
            sure = len(held)
        if sure:
            out.append(Data(held[:sure]))
        return held[sure:]


def _part(headers: bytes, raw: bytes) -> Part:
    dispositions: list[bytes] = []
    for line in headers.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        is_broken = any(one in line for one in (b"\n", b"\r", b"\0"))
        if is_broken or not colon or not name or name != name.strip():
            raise ValueError("malformed headers within the form")
        if name.lower() == b"content-disposition":
            dispositions.append(value.strip())
    if len(dispositions) != 1:
        raise ValueError("a part of the form has no (or more than one) Content-Disposition")
    names = _parameters(dispositions[0])
    if b"name" not in names:
        raise ValueError("a part of the form has no name")
    return Part(
        name=names[b"name"].decode("utf-8", "surrogateescape"),
        is_file=b"filename" in names or b"filename*" in names,
        raw=raw,
    )


def _parameters(disposition: bytes) -> dict[bytes, bytes]:
    match = _DISPOSITION.fullmatch(disposition)
    if match is None:
        raise ValueError("a part of the form is not form-data")
    found: dict[bytes, bytes] = {}
    rest, at = match[1].strip(), 0
    while at < len(rest):
        parameter = _PARAM.match(rest, at)
        if parameter is None or parameter[1].lower() in found:
            raise ValueError("malformed Content-Disposition within the form")
        quoted, plain = parameter[2], parameter[3]
        found[parameter[1].lower()] = plain if quoted is None else _ESCAPE.sub(rb"\1", quoted)
        at = parameter.end()
    return found


class FormScan:
    """Finds the values of a few text fields; a repeated one is refused."""

    def __init__(self, content_type: bytes) -> None:
        self._reader = FormReader(content_type)
        self._name: str | None = None
        self._value = b""
        self.fields: dict[str, bytes] = {}
        """Complete values so far."""

    @property
    def complete(self) -> bool:
        return self._reader.complete

    def feed(self, data: bytes) -> None:
        for piece in self._reader.feed(data):
            if isinstance(piece, Data):
                self._on_data(piece.data)
            else:
                self._end_field()
                if isinstance(piece, Part):
                    self._on_part(piece)

    def finish(self) -> None:
        self._reader.finish()

    def _on_part(self, part: Part) -> None:
        if part.name not in _WANTED:
            return
        if part.is_file:
            raise ValueError(f"the form's field {part.name} must not be a file")
        if part.name in self.fields:
            raise ValueError(f"the form has the field {part.name} more than once")
        self._name = part.name
        self._value = b""

    def _on_data(self, data: bytes) -> None:
        if self._name is not None:
            self._value += data
            if len(self._value) > MAX_VALUE:
                raise ValueError(f"the form's field {self._name} is too long")

    def _end_field(self) -> None:
        if self._name is not None:
            self.fields[self._name] = self._value
            self._name = None


class FormEdit:
    """Sets and removes text fields of a form that streams by.

    A field that is set takes the place of the first of that name, or is added at the end.
    """

    def __init__(
        self,
        content_type: bytes,
        *,
        values: Mapping[str, bytes],
        remove: frozenset[str] = frozenset(),
    ) -> None:
        self._boundary = boundary_of(content_type)
        if any(b"\r\n--" + self._boundary in b"\r\n" + value for value in values.values()):
            raise ValueError("a value to set holds the form's boundary")
        self._reader = FormReader(content_type)
        self._set = values
        self._remove = remove
        self._seen: set[str] = set()
        self._dropping = False
        self._first = True

    def feed(self, data: bytes) -> bytes:
        """Return the edited bytes that are certain now."""
        return b"".join([self._edited(piece) for piece in self._reader.feed(data)])

    def finish(self) -> None:
        self._reader.finish()

    def _edited(self, piece: Piece) -> bytes:
        if isinstance(piece, Data):
            return b"" if self._dropping else piece.data
        if isinstance(piece, Part):
            return self._on_part(piece)
        self._dropping = False
        if not piece.raw.endswith(self._boundary + b"--"):
            return piece.raw
        added = b"".join([self._field(name) for name in self._set if name not in self._seen])
        return added + self._placed(piece.raw)

    def _on_part(self, part: Part) -> bytes:
        again = part.name in self._seen
        self._seen.add(part.name)
        if again and part.name == "model":
            raise ValueError(f"the form has the field {part.name} more than once")
        value = None if part.is_file else self._set.get(part.name)
        is_removed = not part.is_file and part.name in self._remove
        self._dropping = is_removed or value is not None
        if is_removed or (value is not None and again):
            return b""
        return self._placed(part.raw) + (value or b"")

    def _field(self, name: str) -> bytes:
        quoted = name.encode("utf-8", "surrogateescape").replace(b'"', b"%22")
        quoted = quoted.replace(b"\r", b"%0D").replace(b"\n", b"%0A")
        lines = b'\r\n--%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n'
        return self._placed(lines % (self._boundary, quoted)) + self._set[name]

    def _placed(self, raw: bytes) -> bytes:
        """A delimiter as it must look where it comes to stand."""
        if self._first:
            self._first = False
            return raw.removeprefix(b"\r\n")
        return raw
