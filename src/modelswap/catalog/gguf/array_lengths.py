"""Remembers how long arrays of strings are, so that one vocabulary is walked once for many files.

The quantizations and fine-tunes of a model carry the same vocabulary: 150,000 strings take 15 ms to
walk. An array of the same key and count, with the same bytes at its begin and its end and the same key
after it, has the same length. A vocabulary that is another one does not have the key inside it; a file
that was made to be mistaken is misread alone. Where a wrong guess leads to an error, `header` reads the
file again without this.
Memory: at most `MOST` arrays, about a kilobyte each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from modelswap.bounded_cache import BoundedCache

if TYPE_CHECKING:
    from .window import Window

MOST: Final = 512
"""Arrays; a vocabulary has one or two."""
WORTH: Final = 1024
"""Strings: fewer are walked faster than compared."""
_FIRST: Final = 512
"""Bytes at the start of the array that must be the same."""
_LAST: Final = 32
"""Bytes at its end that must be the same, and of what follows: most of the next key."""
_Key = tuple[str, int, str, bytes]
_Known = tuple[int, bytes]


class ArrayLengths:
    __slots__ = ("_known", "guessed")

    def __init__(self) -> None:
        self._known: BoundedCache[_Key, _Known] = BoundedCache(MOST)
        self.guessed = False
        """Whether a length was taken from here since this was last set to `False`."""

    def skip(self, window: Window, count: int, what: str) -> None:
        """Skip an array of strings, walking it only when it is new."""
        begin = window.offset
        key = (what, count, window.order, window.peek(begin, _FIRST))
        known = self._known.get(key)
        if known is not None and _seam(window, begin + known[0]) == known[1]:
            self.guessed = True
            window.seek(begin + known[0])
            return
        window.skip_strings(count, what)
        length = window.offset - begin
        self._known[key] = (length, _seam(window, window.offset))


def _seam(window: Window, end: int) -> bytes:
    """Return the bytes on both sides of an array's end."""
    return window.peek(end - _LAST, 2 * _LAST)
