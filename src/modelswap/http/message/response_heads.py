"""Response heads that were read before: equal bytes have an equal reading."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelswap.bounded_cache import BoundedCache
from modelswap.units import Bytes

from .head import of_length
from .head_template import cut

if TYPE_CHECKING:
    from .head import ResponseHead

_MAX_HEADS = 128
"""Heads of one upstream: they differ in their date and length, so that most are seen once."""
_MAX_SIZE = Bytes(2048)
"""Bytes of a head that is kept: so all of an upstream's take 0.5 MiB at most."""


class ResponseHeads:
    def __init__(self) -> None:
        self.by_bytes: BoundedCache[bytes, ResponseHead] = BoundedCache(_MAX_HEADS)
        self._by_template: BoundedCache[bytes, ResponseHead] = BoundedCache(_MAX_HEADS)
        """By the head without the digits of its length."""

    def of_known_template(self, head: bytes) -> ResponseHead | None:
        digits = cut(head)
        if digits is None:
            return None
        known = self._by_template.get(_without(head, digits))
        return None if known is None else of_length(known, head[slice(*digits)], len(head))

    def remember(self, head: bytes, reading: ResponseHead, *, was_repaired: bool = False) -> None:
        """Keep a reading. A repaired head has no template: it may hold its length twice."""
        if len(head) > _MAX_SIZE:
            return
        self.by_bytes[head] = reading
        digits = None if was_repaired else cut(head)
        if digits is not None:
            self._by_template[_without(head, digits)] = reading


def _without(head: bytes, digits: tuple[int, int]) -> bytes:
    """Put a mark that no valid head has in the place of the length."""
    start, end = digits
    return b"%b\0%b" % (head[:start], head[end:])
