"""Defers work from import to first use: the methods of dataclasses, and regular expressions.

The standard library writes, parses and compiles up to six methods for each dataclass when its module is
imported: 0.35 ms a class, a third of the program's start. Here `__init__` is compiled when a class turns out
to have more than a few instances, and the other methods at the first comparison or hash.

Guarantees: a class behaves as one of `dataclasses.dataclass`, which finds its fields. Threads may share all
of it: work done twice has the same result.
Does not: support `order`, `unsafe_hash`, `ClassVar`, `InitVar` or pickling, nor `super()` in a class with slots.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import MISSING, FrozenInstanceError
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any, AnyStr, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from dataclasses import dataclass as dataclass  # noqa: PLC0414 - exported

    Fields = tuple[dataclasses.Field[Any], ...]

_FIELDS = "__dataclass_fields__"
"""Where `dataclasses` keeps the fields of a class, and looks for those of its bases."""
_OPTIONS = frozenset({"eq", "frozen", "kw_only", "repr", "slots", "weakref_slot"})
_FEW = 3
"""Instances that are made without compiling `__init__`, which costs as much as ten: most classes have fewer."""
_FACTS = (_FIELDS, "__dataclass_params__", "__match_args__")
"""What `dataclasses` finds out about a class."""


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
        """Let `dataclasses` find the fields of a class that looks the same; make the methods."""
        cls, namespace = self._cls, self._namespace
        same = {**namespace, "__doc__": "-"}  # without one, `dataclasses` writes one: slow
        found: Any = type(cls)(cls.__name__, cls.__bases__, same)
        is_kw_only = self._options.get("kw_only", False)
        dataclasses.dataclass(init=False, repr=False, eq=False, kw_only=is_kw_only)(found)
        fields: Fields = dataclasses.fields(found)
        for name, method in _methods(cls, fields, self._options):
            if name not in namespace or namespace[name] is None:
                setattr(cls, name, method)
        for name in _FACTS:
            setattr(cls, name, vars(found)[name])
        is_frozen = self._options.get("frozen", False)
        setattr(cls, "__init__", _interpreted(cls, fields, is_frozen=is_frozen))  # noqa: B010 - a method


def _methods(
    cls: type, fields: Fields, options: Mapping[str, bool]
) -> Iterator[tuple[str, object]]:
    is_frozen = options.get("frozen", False)
    if options.get("repr", True):
        yield "__repr__", _repr(tuple(one.name for one in fields if one.repr))
    if options.get("eq", True):
        names = tuple(one.name for one in fields if one.compare)
        yield "__eq__", _eq(cls, names)
        yield "__hash__", _hash(cls, names) if is_frozen else None
    if is_frozen:
        yield from _frozen(cls, frozenset(one.name for one in fields))


def _eq(cls: Any, names: tuple[str, ...]) -> Callable[[Any, object], Any]:
    """Return what compiles the method when two are compared for the first time."""

    def first(self: Any, other: object) -> Any:
        body = f"if other.__class__ is self.__class__: return {_tuple('self', names)} == {_tuple('other', names)}"
        cls.__eq__ = _compiled(
            cls, "__eq__", ("self", "other"), (body, "return NotImplemented"), {}
        )
        return cls.__eq__(self, other)

    return first


def _hash(cls: Any, names: tuple[str, ...]) -> Callable[[Any], int]:
    def first(self: Any) -> int:
        body = f"return hash({_tuple('self', names)})"
        cls.__hash__ = _compiled(cls, "__hash__", ("self",), (body,), {})
        return int(cls.__hash__(self))

    return first


def _tuple(one: str, names: Iterable[str]) -> str:
    return f"({''.join(f'{one}.{name}, ' for name in names)})"


def _repr(names: tuple[str, ...]) -> Callable[[Any], str]:
    @recursive_repr()
    def shown(self: Any) -> str:
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{self.__class__.__qualname__}({values})"

    return shown


def _frozen(cls: Any, names: frozenset[str]) -> Iterator[tuple[str, object]]:
    def set_one(self: object, name: str, value: object) -> None:
        if type(self) is cls or name in names:
            raise FrozenInstanceError(f"cannot assign to field {name!r}")
        super(cls, self).__setattr__(name, value)

    def delete_one(self: object, name: str) -> None:
        if type(self) is cls or name in names:
            raise FrozenInstanceError(f"cannot delete field {name!r}")
        super(cls, self).__delattr__(name)

    yield "__setattr__", set_one
    yield "__delattr__", delete_one


def _interpreted(cls: Any, fields: Fields, *, is_frozen: bool) -> Callable[..., None]:
    """Return what makes the first instances; then, and for wrong arguments, it compiles `__init__`."""
    positions = tuple(one.name for one in fields if one.init and not one.kw_only)
    known = frozenset(one.name for one in fields if one.init)
    needed = frozenset(
        one.name
        for one in fields
        if one.init and one.default is MISSING and one.default_factory is MISSING
    )
    assign = object.__setattr__ if is_frozen else setattr
    made = 0

    def interpreted(self: Any, /, *args: object, **named: object) -> None:
        nonlocal made
        made += 1
        given = {**dict(zip(positions, args, strict=False)), **named}
        is_right = len(given) == len(args) + len(named) and needed <= given.keys() <= known
        if made > _FEW or not is_right:
            cls.__init__ = _init(cls, fields, is_frozen=is_frozen)
            cls.__init__(self, *args, **named)
            return
        for one in fields:
            if one.name in given:
                assign(self, one.name, given[one.name])
            elif one.default_factory is not MISSING:
                assign(self, one.name, one.default_factory())
            elif one.default is not MISSING:
                assign(self, one.name, one.default)
        if hasattr(cls, "__post_init__"):
            self.__post_init__()

    return interpreted


def _init(cls: type, fields: Fields, *, is_frozen: bool) -> Callable[..., None]:
    """Compile `__init__`: an instance must cost no more than one of the standard library."""
    scope: dict[str, object] = {"_set": object.__setattr__, "_new": MISSING}
    parameters, keywords, body = ["self"], list[str](), list[str]()
    for one in fields:
        name, value, default = one.name, one.name, ""
        if one.default_factory is not MISSING:
            scope[f"_f_{name}"], default = one.default_factory, "=_new"
            value = f"_f_{name}() if {name} is _new else {name}" if one.init else f"_f_{name}()"
        elif one.default is not MISSING:
            scope[f"_d_{name}"], default = one.default, f"=_d_{name}"
            value = name if one.init else f"_d_{name}"
        if one.init:
            (keywords if one.kw_only else parameters).append(name + default)
        if one.init or default:
            body.append(f"_set(self, {name!r}, {value})" if is_frozen else f"self.{name} = {value}")
    if hasattr(cls, "__post_init__"):
        body.append("self.__post_init__()")
    if keywords:
        parameters += ["*", *keywords]
    return _compiled(cls, "__init__", parameters, body or ["pass"], scope)


def _compiled(
    cls: type,
    name: str,
    parameters: Iterable[str],
    body: Iterable[str],
    scope: dict[str, object],
) -> Callable[..., Any]:
    lines = [f"def make({', '.join(scope)}):", f" def {name}({', '.join(parameters)}):"]
    lines += [f"  {line}" for line in body]
    made: dict[str, Any] = {}
    exec("\n".join([*lines, f" return {name}"]), made)  # noqa: S102 - as `dataclasses` does
    method: Callable[..., Any] = made["make"](**scope)
    method.__qualname__ = f"{cls.__qualname__}.{name}"
    return method


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
            if default is MISSING:
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
        """Do what `dataclasses.dataclass` does, later.

        TypeError: an option that is not supported here.
        """
        if not options.keys() <= _OPTIONS:
            raise TypeError(f"not supported: {', '.join(sorted(options.keys() - _OPTIONS))}")
        if cls is not None:
            return _deferred(cls, options)
        return lambda one: _deferred(one, options)


class Pattern:
    """A regular expression that has been compiled: its attributes are those of the compiled one."""


class _Uncompiled(Pattern):
    """One that is compiled when it is first used."""

    def __init__(self, make: Callable[[], object]) -> None:
        self._make = make

    def __getattr__(self, name: str) -> object:
        compiled = self._make()
        vars(self).update((one, getattr(compiled, one)) for one in dir(compiled) if one[0] != "_")
        self.__class__ = Pattern  # type: ignore[assignment]  # without `__getattr__`, each use is faster
        return getattr(self, name)


def regex(text: AnyStr, flags: int = 0) -> re.Pattern[AnyStr]:
    """Return what `re.compile` returns, compiled at its first use.

    A use costs 10 ns more: what each request needs is compiled at once.
    """
    return cast("re.Pattern[AnyStr]", _Uncompiled(lambda: re.compile(text, flags)))
