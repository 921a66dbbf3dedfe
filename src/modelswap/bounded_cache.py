"""A dictionary of bounded size for what can be worked out again.

Guarantees: there are never more than `most` entries; a new entry that does not fit empties the cache
first. A lookup is the lookup of `dict`.
Does not: keep the entries that are used most; `setdefault` and `update` do not know the bound.
"""

from __future__ import annotations

from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class BoundedCache(dict[K, V]):
    __slots__ = ("_most",)

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def __setitem__(self, key: K, value: V) -> None:
        if len(self) >= self._most and key not in self:
            self.clear()
        super().__setitem__(key, value)
