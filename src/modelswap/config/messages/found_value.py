"""The value that stands in the file, as a message shows it.

Guarantees: a value from the environment, a value under a key that usually holds a secret, and a
credential are never part of a message. A long value is cut only after the secrets were masked.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, assert_never

from modelswap.config.tree.node import Map, NodeKind, Scalar, Seq
from modelswap.deferred import dataclass, regex

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelswap.config.tree.node import Node, Path

HIDDEN: Final = "a value that is not shown"
LONGEST: Final = 60
"""Characters of a value in a message: more of them hide the message itself."""
LONGEST_PATH: Final = 400
"""Characters of a file's name in a message: its end says which file it is."""
_SECRET_KEY = regex(
    r"api_?keys?$|^key(_?hash)?$|token|secret|passw|credential|^authorization$|cookie",
    re.IGNORECASE,
)
_KEY_RECORD: Final = frozenset(
    {"name", "keyFile", "scopes", "models", "rateLimit", "expires", "background", "noSwap"}
)
"""Parts of an `apiKeys` record that are no secret."""
_PLAIN_WORDS = regex(r"[A-Za-z_ ]{1,40}")
"""Of an `env` entry: a name without a value; anything else could be a token."""
_URL_SECRET = regex(r"[@?]")


@dataclass(frozen=True, slots=True)
class FoundValue:
    """The words before a value, and the whole value, so that it can still be masked."""

    words: str
    value: str | None = None
    longest: int = LONGEST

    def text(self, mask: Callable[[str], str]) -> str:
        if self.value is None:
            return mask(self.words)
        value = mask(self.value)
        shown = value if len(value) <= self.longest else f"{value[: self.longest - 1]}…"
        return f"{self.words} {shown!r}".strip()


def is_secret_path(path: Path) -> bool:
    """Tell whether a value below this key is never shown."""
    names = [part for part in path if isinstance(part, str)]
    if path[:1] == ("apiKeys",):
        return not (names[1:] and names[1] in _KEY_RECORD)
    if path[:1] == ("models",):
        names = names[:1] + names[2:]  # an id is no key
    return any(_SECRET_KEY.search(name) for name in names)


def describe_node(node: Node | None, path: Path, *, with_kind: bool = True) -> FoundValue:
    """Describe a node: its kind, and a short value where it may be shown.

    `with_kind`: the words say that a text is one, for messages that expected another type.
    """
    match node:
        case None:
            return FoundValue("nothing")
        case Map():
            return FoundValue("a mapping")
        case Seq():
            return FoundValue("a list")
        case Scalar(kind=NodeKind.NULL):
            return FoundValue("null")
        case Scalar():
            return _scalar(node, path, with_kind=with_kind)
        case _ as never:
            assert_never(never)


def _scalar(node: Scalar, path: Path, *, with_kind: bool) -> FoundValue:
    is_text = node.kind is NodeKind.TEXT
    if node.from_env or is_secret_path(path):
        return FoundValue("text that is not shown" if is_text and with_kind else HIDDEN)
    if node.kind in {NodeKind.BOOL, NodeKind.INT, NodeKind.FLOAT}:
        return FoundValue(node.text if len(node.text) <= LONGEST else f"{node.text[:LONGEST]}…")
    words = ("text" if with_kind else "") if is_text else str(node.kind)
    return describe_text(node.text, path, words=words)


def describe_text(value: str, path: Path, *, words: str = "") -> FoundValue:
    """Describe a text, which may differ from the one in the file."""
    if is_secret_path(path):
        return FoundValue(HIDDEN)
    if not value:
        return FoundValue("an empty text")
    is_env = path[:1] == ("models",) and path[2:3] == ("env",)
    if is_env and not _PLAIN_WORDS.fullmatch(value):
        return FoundValue("text that is not shown")
    if _URL_SECRET.search(value) and "://" in value:
        return FoundValue("an address that is not shown")
    return FoundValue(words, value)
