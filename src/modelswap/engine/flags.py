"""Reads the command line: llama-server's flags, each tied to a parameter of the wheel.

Guarantees: `parse` makes settings, which are data; it imports no engine and reads no file. As with
llama-server, long options may be `--name value` or `--name=value`, with `_` or `-` between words.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, assert_never

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Kind(Enum):
    """How the text after a flag is read."""

    SWITCH = auto()
    """Takes no text; sets the row's `constant`."""
    TEXT = auto()
    INT = auto()
    FLOAT = auto()
    NAMES = auto()
    """Comma-separated."""
    FLOATS = auto()
    """Comma-separated numbers."""
    CHOICE = auto()
    """One of the row's `choices`."""
    FILE = auto()
    """The text of a file."""
    JSON = auto()
    """A JSON object."""


Constant = bool | int | str
"""What a switch or a choice sets; a text `ENUM.MEMBER` names a constant of the wheel."""
Value = Constant | float | tuple[str, ...] | tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Flag:
    names: tuple[str, ...]
    target: str
    """Dotted attribute of the wheel's `CommonParams`."""
    help: str
    kind: Kind = Kind.SWITCH
    constant: Constant = True
    choices: Mapping[str, Constant] | None = None
    also: tuple[tuple[str, Constant], ...] = ()
    """Further attributes that the flag sets."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One requested parameter. For FILE and JSON, `value` is the text, read later."""

    flag: Flag
    target: str
    value: Value


class UsageError(Exception):
    """The command line is wrong; the message is one line."""


def parse(arguments: Sequence[str], table: Mapping[str, Flag]) -> list[Setting]:
    """Read arguments in order; a later setting of a parameter wins."""
    settings: list[Setting] = []
    rest = iter(arguments)
    for argument in rest:
        name, flag, inline = _look_up(argument, table)
        if flag.kind is Kind.SWITCH:
            if inline is not None:
                raise UsageError(f"{name} takes no value")
            value: Value = flag.constant
        else:
            text = next(rest, None) if inline is None else inline
            if text is None:
                raise UsageError(f"{name} needs a value")
            value = _read(name, flag, text)
        pairs = ((flag.target, value), *flag.also)
        settings += [Setting(flag, target, value) for target, value in pairs]
    return settings


def _look_up(argument: str, table: Mapping[str, Flag]) -> tuple[str, Flag, str | None]:
    """Find the row of one argument, and the value that follows a `=`."""
    if not argument.startswith("-"):
        raise UsageError(f"unexpected argument '{argument}'")
    name, equals, text = argument, "", ""
    if argument.startswith("--"):
        name, equals, text = argument.partition("=")
        name = name.replace("_", "-")
    flag = table.get(name)
    if flag is None:
        raise UsageError(f"unknown flag {name}{_hint(name, table)}")
    return name, flag, text if equals else None


def _hint(name: str, table: Mapping[str, Flag]) -> str:
    import difflib  # noqa: PLC0415 - only a mistyped flag needs it

    near = difflib.get_close_matches(name, table, n=1, cutoff=0.6)
    return f" (did you mean {near[0]}?)" if near else " (--help lists those known)"


def _read(name: str, flag: Flag, text: str) -> Value:
    try:
        match flag.kind:
            case Kind.TEXT | Kind.FILE | Kind.JSON | Kind.SWITCH:
                return text
            case Kind.INT:
                words = flag.choices or {}
                return words[text] if text in words else int(text)
            case Kind.FLOAT:
                return float(text)
            case Kind.NAMES:
                return tuple(part.strip() for part in text.split(",") if part.strip())
            case Kind.FLOATS:
                return tuple(float(part) for part in text.replace("/", ",").split(","))
            case Kind.CHOICE:
                return (flag.choices or {})[text.lower()]
            case _ as never:
                assert_never(never)
    except KeyError:
        known = ", ".join(flag.choices or {})
        raise UsageError(f"{name} takes one of {known}, not '{text}'") from None
    except ValueError:
        raise UsageError(f"{name} takes a number, not '{text}'") from None
