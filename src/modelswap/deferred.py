"""Defers work from import to first use: the methods of dataclasses, and regular expressions.

The standard library writes, parses and compiles up to six methods for each dataclass when its module is
imported: 0.35 ms a class, a third of the program's start. Most classes have no instance at the start.

Guarantees: a class has the methods that `dataclasses.dataclass` makes, before its first instance or the
first look at its fields. Threads may share all of it: work done twice has the same result.
Does not: support `super()` in a class with slots, nor `init=False` for the whole class.
"""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Any, AnyStr, cast

if TYPE_CHECKING:
    from collections.abc import Callable
    from dataclasses import dataclass as dataclass  # noqa: PLC0414 - exported

_FIELDS = "__dataclass_fields__"
"""Where `dataclasses` keeps the fields of a class, and looks for those of its bases."""
_OWN = frozenset({"__dict__", "__doc__", "__slots__", "__weakref__"})
"""What each class has for itself."""


class _Methods:
    """The methods that a class is still to get; stands where its fields will."""

    __slots__ = ("_cls", "_namespace", "_options")

    def __init__(self, cls: type, namespace: dict[str, Any], options: dict[str, Any]) -> None:
        self._cls = cls
        self._namespace = namespace
        self._options = options

    def __get__(self, instance: object, owner: type) -> object:
        self.make()
        return getattr(owner, _FIELDS)

    def make(self) -> None:
        """Let `dataclasses` make the methods of a class that looks the same, and take them."""
        cls, before = self._cls, self._namespace
        same = {
            **before,
            "__doc__": cls.__doc__ or cls.__name__,
        }  # without one, it writes one: slow
        copy = type(cls)(cls.__name__, cls.__bases__, same)
        made: type = dataclasses.dataclass(**self._options)(copy)
        names = [n for n in vars(made) if n not in before and n not in vars(made)[_FIELDS]]
        for name in sorted(names, key="__init__".__eq__):  # last: instances need the others
            if name not in _OWN:
                setattr(cls, name, vars(made)[name])


def _with_slots(cls: type, namespace: dict[str, Any], options: dict[str, Any]) -> type:
    """Return the class with slots, as `dataclasses` makes it."""
    inherited = {name for base in cls.__mro__ for name in getattr(base, "__slots__", ())}
    own = [name for name in cls.__annotations__ if name not in inherited]
    if options.get("weakref_slot"):
        own.append("__weakref__")
    rest = {n: value for n, value in namespace.items() if n not in cls.__annotations__}
    made = type(cls)(cls.__name__, cls.__bases__, {**rest, "__slots__": tuple(own)})
    made.__qualname__ = cls.__qualname__
    return made


def _without_fields(cls: type, namespace: dict[str, Any]) -> type:
    """Leave the defaults as plain attributes, as `dataclasses` does."""
    for name, value in namespace.items():
        if isinstance(value, dataclasses.Field):
            default = cast("object", value.default)  # pyright: ignore[reportUnknownMemberType] - any
            if default is dataclasses.MISSING:
                delattr(cls, name)
            else:
                setattr(cls, name, default)
    return cls


def _deferred(original: type, options: dict[str, Any]) -> type:
    namespace = {n: v for n, v in vars(original).items() if n not in {"__dict__", "__weakref__"}}
    if options.get("slots"):
        cls = _with_slots(original, namespace, options)
    else:
        cls = _without_fields(original, namespace)
    methods = _Methods(cls, namespace, options)

    def first(self: Any, *args: object, **named: object) -> None:
        methods.make()
        cast("Any", cls).__init__(self, *args, **named)

    setattr(cls, _FIELDS, methods)
    setattr(cls, "__init__", first)  # noqa: B010 - mypy: an assignment to a method
    return cls


if not TYPE_CHECKING:

    def dataclass(cls: type | None = None, /, **options: Any) -> Any:
        """Do what `dataclasses.dataclass` does, later."""
        if cls is not None:
            return _deferred(cls, options)
        return lambda one: _deferred(one, options)


class Pattern:
    """A regular expression that is compiled when it is first used."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make

    def __getattr__(self, name: str) -> object:
        found = getattr(self._make(), name)
        setattr(self, name, found)  # the next look finds it here
        return found


def regex(text: AnyStr, flags: int = 0) -> re.Pattern[AnyStr]:
    """Return what `re.compile` returns, compiled at its first use."""
    return cast("re.Pattern[AnyStr]", Pattern(lambda: re.compile(text, flags)))
