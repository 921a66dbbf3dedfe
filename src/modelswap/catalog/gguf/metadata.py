"""Keys and values of a GGUF header: the wanted ones are kept, the others are skipped.

Memory: at most `MOST_KEPT` bytes of strings, and short arrays of numbers.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from modelswap.units import Bytes

from .array_lengths import WORTH
from .window import GgufError

if TYPE_CHECKING:
    from .array_lengths import ArrayLengths
    from .window import Window

Number = int | float | bool
Value = Number | str | tuple[Number, ...] | tuple[str, ...]

TEMPLATE: Final = "tokenizer.chat_template"
MOST_KEYS: Final = 1 << 14
"""Keys of one file. Known files have up to 200."""
MOST_KEY: Final = Bytes(0xFFFF)
"""The longest key that the specification allows."""
MOST_STRING: Final = Bytes(8 << 10)
"""The longest value that is kept: descriptions and names are shorter; texts of licences need not be kept."""
MOST_TEMPLATE: Final = Bytes(1 << 20)
"""The longest chat template that is kept; long ones have 30 KB."""
MOST_KEPT: Final = Bytes(8 << 20)
"""Of all kept strings of one file."""
MOST_NUMBERS: Final = 4096
"""The longest array of numbers that is kept: one for each layer, as `attention.head_count_kv` may have."""
MOST_WORDS: Final = 64
"""The longest array of strings that is kept, as `general.tags`."""
_SCALARS: Final = {
    0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d",
}  # fmt: skip
"""Type of a value -> its format in `struct`."""
_STRING: Final = 8  # type of a value
_ARRAY: Final = 9  # type of a value
_LAYOUTS: Final = {
    order: {kind: struct.Struct(order + code) for kind, code in _SCALARS.items()} for order in "<>"
}


@dataclass(slots=True)
class Metadata:
    values: dict[str, Value] = field(default_factory=dict[str, Value])
    lengths: dict[str, int] = field(default_factory=dict[str, int])
    """How many elements the arrays have, the skipped ones too."""
    kept: int = 0
    """Bytes of strings."""


def is_wanted(key: str) -> bool:
    """Of the tokenizer only the chat templates are wanted, and which tokenizer it is."""
    if key.startswith("tokenizer."):
        return key.startswith(TEMPLATE) or key in {"tokenizer.ggml.model", "tokenizer.ggml.pre"}
    return True


def read_metadata(window: Window, count: int, arrays: ArrayLengths | None) -> Metadata:
    if count > MOST_KEYS:
        raise GgufError(f"has {count} keys; at most {MOST_KEYS} are read")
    found = Metadata()
    seen: set[str] = set()
    for number in range(1, count + 1):
        key = window.text(MOST_KEY, f"key {number} of {count}")
        if key in seen:
            raise GgufError(f"has the key {_shown(key)} twice")
        seen.add(key)
        kind = window.u32(f"the type of {_shown(key)}")
        if kind == _ARRAY:
            _read_array(window, key, found, arrays)
        elif kind == _STRING:
            _read_string(window, key, found)
        else:
            (value,) = window.unpack(_layout(window, kind, key), f"the value of {_shown(key)}")
            if is_wanted(key):
                found.values[key] = value
    return found


def _layout(window: Window, kind: int, key: str) -> struct.Struct:
    layout = _LAYOUTS[window.order].get(kind)
    if layout is None:
        raise GgufError(f"gives {_shown(key)} the unknown type {kind}; types 0 to 12 exist")
    return layout


def _read_string(window: Window, key: str, found: Metadata) -> None:
    what = f"the value of {_shown(key)}"
    length = window.length(what)
    most = MOST_TEMPLATE if key.startswith(TEMPLATE) else MOST_STRING
    if length <= most and found.kept + length <= MOST_KEPT and is_wanted(key):
        found.values[key] = window.take(length, what).decode("utf-8", "replace")
        found.kept += length
    else:
        window.skip(length, what)


def _read_array(window: Window, key: str, found: Metadata, arrays: ArrayLengths | None) -> None:
    what = f"the array {_shown(key)}"
    kind = window.u32(f"the type of {what}")
    count = window.length(what)
    found.lengths[key] = count
    if kind == _ARRAY:
        raise GgufError(f"nests arrays in {_shown(key)}; llama.cpp reads none")
    if kind == _STRING:
        _read_strings(window, key, count, found, arrays)
        return
    size = _layout(window, kind, key).size
    if count * size > window.left:
        raise GgufError(f"gives {what} {count} elements; {window.left} bytes are left in the file")
    if count <= MOST_NUMBERS and found.kept + count * size <= MOST_KEPT and is_wanted(key):
        layout = struct.Struct(f"{window.order}{count}{_SCALARS[kind]}")
        found.values[key] = window.unpack(layout, what)
        found.kept += count * size
    else:
        window.skip(count * size, what)


def _read_strings(
    window: Window, key: str, count: int, found: Metadata, arrays: ArrayLengths | None
) -> None:
    what = f"the array {_shown(key)}"
    if count <= MOST_WORDS and is_wanted(key):
        words: list[str] = []
        for _ in range(count):
            length = window.length(what)
            if length > MOST_STRING or found.kept + length > MOST_KEPT:
                window.skip(length, what)
                continue
            words.append(window.take(length, what).decode("utf-8", "replace"))
            found.kept += length
        found.values[key] = tuple(words)
    elif arrays is not None and count >= WORTH:
        arrays.skip(window, count, what)
    else:
        window.skip_strings(count, what)


def _shown(key: str) -> str:
    """Return a key as it may stand in a message."""
    text = key if len(key) <= MOST_WORDS else key[:MOST_WORDS] + "…"
    return repr(text)
