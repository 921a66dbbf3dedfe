"""Reads response heads, and keeps the readings: equal bytes have an equal reading."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from modelswap.bounded_cache import BoundedCache
from modelswap.units import Bytes

from .head import BadResponseError, of_length, parse_response
from .head_template import cut, head_template
from .repair import end_of_head, repaired

if TYPE_CHECKING:
    from .head import ResponseHead
    from .head_template import HeadTemplate

MAX_HEAD = Bytes(64 << 10)
"""Bytes of a response's head: what common clients and proxies allow."""
_START = b"HTTP/"
"""The first bytes of every response."""
_MAX_HEADS = 128
"""Heads of one upstream: they differ in their date and length, so that most are seen once."""
_MAX_SIZE = Bytes(2048)
"""Bytes of a head that is kept: so all of an upstream's take 0.5 MiB at most."""


class ResponseHeads:
    def __init__(self) -> None:
        self._by_bytes: BoundedCache[bytes, ResponseHead] = BoundedCache(_MAX_HEADS)
        self._by_template: BoundedCache[bytes, ResponseHead] = BoundedCache(_MAX_HEADS)
        """By the head without the digits of its length."""
        self._raw = b""
        self._last: ResponseHead | None = None
        """The last one that announced a length, its bytes, and their template: most are followed by
        one like them, which is then found without a search and a hash."""
        self._template: HeadTemplate | None = None

    def known(self, data: bytes) -> tuple[ResponseHead, int] | None:
        """The reading of the head that `data` begins with, and its size; None: it is to be parsed."""
        last, template = self._last, self._template
        if last is not None and template is not None:
            raw = self._raw
            if data.startswith(raw):
                return last, len(raw)
            if digits := template.digits(data):
                size = template.size + len(digits)
                self._raw = data[:size]
                self._last = last = of_length(last, digits, size)
                return last, size
        end = data.find(b"\r\n\r\n") + 4
        raw = data[:end]
        head = self._by_bytes.get(raw) or self._of_known_template(raw)
        return None if head is None else (head, end)

    def read(self, data: bytes) -> tuple[ResponseHead, int] | None:
        """Read a head that is not known, and its size; None: it is incomplete."""
        end = data.find(b"\r\n\r\n") + 4
        if 4 <= end <= MAX_HEAD:  # noqa: PLR2004 - find() returned -1
            with suppress(BadResponseError):
                head = parse_response(data[:end])
                self.remember(data[:end], head)
                return head, end
        end = end_of_head(data)
        if not data.startswith(_START[: len(data)]):
            raise BadResponseError("the upstream's answer is not HTTP")
        if (end or len(data)) > MAX_HEAD:
            raise BadResponseError("the upstream's headers are too large")
        if not end:
            return None
        head = parse_response(repaired(data[:end]))
        self.remember(data[:end], head, was_repaired=True)
        return head, end

    def _of_known_template(self, head: bytes) -> ResponseHead | None:
        digits = cut(head)
        if digits is None:
            return None
        known = self._by_template.get(_without(head, digits))
        if known is None:
            return None
        made = of_length(known, head[slice(*digits)], len(head))
        self._note(head, made)
        return made

    def remember(self, head: bytes, reading: ResponseHead, *, was_repaired: bool = False) -> None:
        """Keep a reading. A repaired head has no template: it may hold its length twice."""
        if len(head) > _MAX_SIZE:
            return
        self._by_bytes[head] = reading
        digits = None if was_repaired else cut(head)
        if digits is not None:
            self._by_template[_without(head, digits)] = reading
            self._note(head, reading)

    def _note(self, head: bytes, reading: ResponseHead) -> None:
        self._raw, self._last, self._template = head, reading, head_template(head)


def _without(head: bytes, digits: tuple[int, int]) -> bytes:
    """Put a mark that no valid head has in the place of the length."""
    start, end = digits
    return b"%b\0%b" % (head[:start], head[end:])
