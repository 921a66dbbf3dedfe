"""What becomes of an upstream's error when the client already has the head of an event stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelswap.units import Bytes

if TYPE_CHECKING:
    from modelswap.http.message.head import ResponseHead

    from .protocols import RelayOwner

_MAX_LATE_BODY = Bytes(64 << 10)
"""Bytes kept of the body: more than any error says, little enough for each of many requests."""


class LateError:
    """A transform that collects the body and gives one event in its place."""

    __slots__ = ("_head", "_owner", "_parts", "_size")

    def __init__(self, owner: RelayOwner, head: ResponseHead) -> None:
        self._owner = owner
        self._head = head
        self._parts: list[bytes] = []
        self._size = 0

    def head(self, head: ResponseHead) -> None:
        """Change no field: the client has its head."""

    def data(self, data: bytes) -> bytes:
        kept = data[: _MAX_LATE_BODY - self._size]
        self._size += len(kept)
        self._parts.append(kept)
        return b""

    def end(self) -> bytes:
        head = self._head
        return self._owner.on_late_error(head.status, head.content_type, b"".join(self._parts))
