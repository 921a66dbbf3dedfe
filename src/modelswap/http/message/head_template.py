"""Recognises heads that differ from a known one only in the digits of their one `Content-Length`.

The reading of one gives that of the other, so bodies that differ in length cost no parsing. A sign, a
leading zero, a space or a nineteenth digit is not accepted.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from modelswap.units import Bytes

if TYPE_CHECKING:
    from .fields import Field

CONTENT_LENGTH = b"content-length"
_DIGITS = 18
"""Digits of a length: all such numbers fit into 64 bits."""
_MAX_SIZE = Bytes(4096)
"""Bytes of a head whose template is kept: ordinary ones are shorter."""
_ZERO = 0x30  # the digit 0 in ASCII
_LINE = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: ?([1-9][0-9]{0,17})\r\n")


class HeadTemplate:
    """Of a head that was accepted."""

    __slots__ = ("_after", "_before", "_start", "size")

    def __init__(self, before: bytes, after: bytes) -> None:
        self._before = before
        self._after = after
        self._start = len(before)
        self.size = len(before) + len(after)
        """Of the head without the digits."""

    def digits(self, data: bytes) -> bytes:
        """The length that `data` announces if it begins with a head like this, else nothing."""
        if not data.startswith(self._before):
            return b""
        start = self._start
        end = data.find(b"\r", start, start + _DIGITS + 1)
        if end < 0 or not data.startswith(self._after, end):
            return b""
        digits = data[start:end]
        return digits if digits.isdigit() and digits[0] != _ZERO else b""


def head_template(head: bytes) -> HeadTemplate | None:
    """The template of an accepted head, if it is an ordinary one with a length."""
    found = cut(head)
    if found is None:
        return None
    start, end = found
    return HeadTemplate(head[:start], head[end:])


def cut(head: bytes) -> tuple[int, int] | None:
    found = _LINE.search(head) if len(head) <= _MAX_SIZE else None
    return None if found is None else found.span(1)


def place_of_length(headers: tuple[Field, ...]) -> int:
    return next(
        at
        for at, (name, _) in enumerate(headers)
        if len(name) == len(CONTENT_LENGTH) and name.lower() == CONTENT_LENGTH
    )


def with_length(headers: tuple[Field, ...], at: int, digits: bytes) -> tuple[Field, ...]:
    return (*headers[:at], (headers[at][0], digits), *headers[at + 1 :])
