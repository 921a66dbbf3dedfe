"""The types that a key's value can have, and how a record declares its keys.

Guarantees: a record is a plain frozen dataclass; the metadata of a field hold the key's name, type and
help. The decoder, the JSON Schema and the reference page read the same declaration.
"""

from __future__ import annotations

from dataclasses import MISSING, field, fields, replace
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

from modelswap.deferred import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Bool:
    """`true`, `false`, and the words `yes`, `no`, `on`, `off`."""


@dataclass(frozen=True, slots=True)
class Int:
    """A whole number; a fraction is cut off."""

    minimum: int | None = None


@dataclass(frozen=True, slots=True)
class Text:
    one_of: tuple[str, ...] = ()
    is_trimmed: bool = False
    """Without the blanks around it."""


@dataclass(frozen=True, slots=True)
class GoDuration:
    """A text such as `5s` or `1m30s`; no bare number."""


@dataclass(frozen=True, slots=True)
class Duration:
    """Seconds as a number, or a text such as `1m30s`."""

    takes_zero: bool = True


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes as a number, or a text such as `256MiB`."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes by name, or a single one without a name, which is kept under an empty name."""


@dataclass(frozen=True, slots=True)
class Anything:
    """Any YAML value, kept as JSON."""


@dataclass(frozen=True, slots=True)
class ListOf:
    item: Shape


@dataclass(frozen=True, slots=True)
class MapOf:
    value: Shape
    """The type of each value; null is `None` unless the type is a record."""


@dataclass(frozen=True, slots=True)
class Record:
    cls: type[object]


@dataclass(frozen=True, slots=True)
class Either:
    """A text, or a record."""

    cls: type[object]


@dataclass(frozen=True, slots=True)
class OneOrMore:
    """A list; a single item needs no brackets."""

    item: Shape


@dataclass(frozen=True, slots=True)
class Short:
    """A record, or the value of its key `key` alone."""

    cls: type[object]
    key: str


Leaf = Bool | Int | Text | GoDuration | Duration | Size | Sizes
Shape = Leaf | Anything | ListOf | OneOrMore | MapOf | Record | Either | Short


@dataclass(frozen=True, slots=True)
class Key:
    name: str
    shape: Shape
    help: str
    shown: str = ""
    """The default as the reference shows it, where the value itself would not say it."""
    hidden: bool = False
    attribute: str = ""
    default: object = None


def key(
    name: str, shape: Shape, default: T, about: str, *, shown: str = "", hidden: bool = False
) -> T:
    """Declare a key with an immutable default."""
    meta = {"key": Key(name, shape, about, shown, hidden)}
    return cast("T", field(default=cast("Any", default), metadata=meta))


def flag(name: str, about: str, *, default: bool = False) -> bool:
    return key(name, Bool(), default, about)


def record(name: str, cls: Callable[[], T], about: str) -> T:
    """Declare a key that holds a record; all its defaults when the key is absent."""
    meta = {"key": Key(name, Record(cast("type", cls)), about)}
    made: T = field(default_factory=cls, metadata=meta)
    return made


def mapping(name: str, value: Shape, about: str, *, hidden: bool = False) -> Mapping[str, Any]:
    """Declare a key that maps names to values; empty by default."""
    meta = {"key": Key(name, MapOf(value), about, hidden=hidden)}
    return field(default_factory=dict[str, Any], metadata=meta)


@cache
def keys_of(cls: type) -> dict[str, Key]:
    """The keys of a record by their names in the file: its own in order, then those of its bases."""
    own = cls.__annotations__
    found = (
        replace(
            item.metadata["key"],
            attribute=item.name,
            default=item.default if item.default is not MISSING else None,
        )
        for item in sorted(fields(cls), key=lambda one: one.name not in own)
    )
    return {one.name: one for one in found}


def values_of(record: T, cls: type[T]) -> dict[str, Any]:
    """The values of those keys that the base class `cls` of the record declares."""
    return {one.name: getattr(record, one.name) for one in fields(cast("Any", cls))}
