"""Hints name the key, the macro or the model that the author most likely meant.

Guarantees: a hint names a key only when the word is near to it and the value has its type, or when
another program uses that name (`foreign_names`). No hint is better than a wrong one.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Final

from modelswap.config.schema import field_types as types
from modelswap.config.schema.quantities import seconds, size
from modelswap.config.schema.schema_root import RawConfig
from modelswap.config.tree.node import Map, NodeKind, Scalar, Seq, is_null
from modelswap.config.tree.scalars import YES_NO
from modelswap.deferred import regex

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from modelswap.config.tree.node import Node, Path

MOST_NAMES: Final = 2000
"""Names that are compared: about 2 ms for one misspelt word."""
_LONGEST_WORD: Final = 64
"""Characters: longer words are compared as a whole."""
_NEAR: Final = ((2, 0), (5, 1), (11, 2), (_LONGEST_WORD, 3))
"""Up to this length of a word, so many letters may differ."""
_VAGUE: Final = frozenset({
    "name", "description", "path", "use", "settings", "key", "in", "out", "body", "queue",
    "headers", "connections", "models", "every", "scopes", "expires", "background", "disabled",
    "context", "sets", "vars", "grace", "pulse", "macros", "filters", "min", "max", "after", "model",
})  # fmt: skip
"""Words with too many meanings to hint at a key of another place."""
_BUILT_IN: Final = {
    **dict.fromkeys(("port", "modelport", "serverport", "llamaport", "autoport"), "PORT"),
    **dict.fromkeys(("model", "modelid", "modelname", "id", "name"), "MODEL_ID"),
    "pid": "PID",
}
_VARIABLE = regex(r"[A-Z_][A-Z0-9_]*")
_ENV_PREFIX = regex(r"env[_-]([A-Za-z_][A-Za-z0-9_]*)", re.IGNORECASE)


@lru_cache(maxsize=4 * MOST_NAMES)
def normalised(word: str) -> str:
    """Return the word without case, `_` and `-`."""
    return re.sub(r"[^a-z0-9]", "", word.lower())


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the hint for a misspelt name; empty when nothing is near."""
    names = list(known)
    close = _same(word, names) or _near(word, names)
    return f"did you mean {close!r}?" if close else ""


def _same(word: str, names: list[str]) -> str:
    wanted = normalised(word)
    return next((name for name in names if wanted and normalised(name) == wanted), "")


def _near(word: str, names: list[str]) -> str:
    if len(names) > MOST_NAMES:
        return ""
    low = word.lower()
    bound = next((allowed for length, allowed in _NEAR if len(word) <= length), 0)
    best, found = bound + 1, ""
    letters = _letters(low)
    for name in names:
        if abs(len(name) - len(word)) < best and name:
            # one change takes away one letter and brings one at most
            if len(letters ^ _letters(name)) > 2 * (best - 1):
                continue
            away = _distance(low, name.lower(), best)
            if away < min(best, len(name)):
                best, found = away, name
    return found


@lru_cache(maxsize=4 * MOST_NAMES)
def _letters(name: str) -> frozenset[str]:
    return frozenset(name.lower())


def _distance(left: str, right: str, bound: int) -> int:
    """Count the letters to insert, drop, change or exchange with a neighbour, up to `bound`."""
    before: list[int] = []
    above = list(range(len(right) + 1))
    for row, one in enumerate(left, 1):
        here = [row]
        for column, other in enumerate(right, 1):
            step = min(above[column] + 1, here[-1] + 1, above[column - 1] + (one != other))
            if row > 1 and column > 1 and one == right[column - 2] and other == left[row - 2]:
                step = min(step, before[column - 2] + 1)
            here.append(step)
        if min(here) >= bound:
            return bound
        before, above = above, here
    return min(above[-1], bound)


def of_key(name: str, value: Node, cls: type, path: Path) -> str:
    """Return the hint for a key that the record `cls` at `path` does not have."""
    from .foreign_names import FOREIGN_NAMES  # noqa: PLC0415 - only for a mistake

    keys = {key.name: key.shape for key in types.keys_of(cls).values() if not key.hidden}
    same = _same(name, list(keys))
    if same:
        return f"did you mean {same!r}?"
    foreign = FOREIGN_NAMES.get(cls.__name__, {}).get(normalised(name))
    if foreign:
        return foreign
    if isinstance(value, Map) and value.get("cmd") is not None:
        return "models stand side by side below `models:`"
    elsewhere = _elsewhere(name, value, path)
    if elsewhere:
        return f"did you mean {elsewhere!r}?"
    close = _near(name, [known for known, shape in keys.items() if fits(value, shape)])
    return f"did you mean {close!r}?" if close else ""


def fits(node: Node, shape: types.Shape) -> bool:
    """Tell whether a value has a type; one with a placeholder may have any."""
    if is_null(node) or (isinstance(node, Scalar) and "${" in node.text):
        return True
    match shape:
        case types.Anything():
            return True
        case types.ListOf():
            return isinstance(node, Seq)
        case types.MapOf() | types.Record():
            return isinstance(node, Map)
        case types.Either():
            return not isinstance(node, Seq)
        case types.Sizes() if isinstance(node, Map):
            return True
        case types.OneOrMore() | types.Short():
            return True
        case _:
            return isinstance(node, Scalar) and _fits(node, shape)


def _fits(node: Scalar, shape: types.Leaf) -> bool:
    is_number = node.kind in {NodeKind.INT, NodeKind.FLOAT}
    match shape:
        case types.Bool():
            return node.kind is NodeKind.BOOL or node.text in YES_NO
        case types.Int():
            return is_number
        case types.Duration():
            return is_number or seconds(node.text) is not None
        case types.GoDuration():
            return seconds(node.text) is not None
        case types.Size() | types.Sizes():
            return is_number or size(node.text) is not None
        case _:
            return node.kind is NodeKind.TEXT


@cache
def _all_keys() -> tuple[tuple[str, Path, types.Shape], ...]:
    """Return every key of the file: its word, its path (`<id>` for any name), its type."""
    return tuple(_below(RawConfig, ()))


def _below(cls: type, path: Path) -> Iterator[tuple[str, Path, types.Shape]]:
    for key in types.keys_of(cls).values():
        if key.hidden:
            continue
        here, shape = (*path, key.name), key.shape
        yield normalised(key.name), here, shape
        if isinstance(shape, types.MapOf):
            here, shape = (*here, "<id>"), shape.value
        if isinstance(shape, types.Record):
            yield from _below(shape.cls, here)


def _elsewhere(name: str, value: Node, path: Path) -> str:
    """Return the path at which a key of this name belongs: below this record first."""
    wanted = normalised(name)
    if wanted in _VAGUE or not wanted:
        return ""
    at = _anonymous(path)
    found = [
        place
        for word, place, shape in _all_keys()
        if word == wanted and fits(value, shape) and _is_reachable(at, place)
    ]
    if not found:
        return ""
    own = [place for place in found if place[: len(at)] == at]
    return ".".join(map(str, (own or found)[0][len(at) if own else 0 :])).replace(
        "routing.router.settings.groups", "groups"
    )


def _anonymous(path: Path) -> Path:
    named = ("models", "peers", "selectors", "profiles", "groups")
    return tuple(
        "<id>" if index and path[index - 1] in named else part for index, part in enumerate(path)
    )


def _is_reachable(at: Path, place: Path) -> bool:
    """Tell whether the author may have meant that place: a key of a peer is never meant for a model."""
    if not at or place[: len(at)] == at:
        return True
    return place[0] == at[0] or (at[0] == "models" and (len(place) == 1 or place[0] == "hooks"))


def of_macro(name: str, known: Iterable[str]) -> str:
    """Return the hint for `${name}` that no macro fills."""
    names = list(known)
    meant = _same(name, names) or _BUILT_IN.get(normalised(name))
    if meant and (meant in names or meant != name):
        return f"did you mean '${{{meant}}}'?"
    prefixed = _ENV_PREFIX.fullmatch(name)
    if prefixed:
        return f"an environment variable is written ${{env.{prefixed[1]}}}"
    close = _near(name, names)
    if close:
        return f"did you mean {close!r}?"
    is_variable = _VARIABLE.fullmatch(name) is not None
    return f"an environment variable is written ${{env.{name}}}" if is_variable else ""
