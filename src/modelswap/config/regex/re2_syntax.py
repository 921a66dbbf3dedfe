"""Expressions of RE2 (Go) are translated into those of Python. Pure.

Guarantees: what RE2 refuses is refused: look-around and references back, which can also take
exponential time. What Python spells otherwise is translated.
"""

from __future__ import annotations

import re
import warnings
from typing import Final

from modelswap.deferred import regex

from .linear_regex import Linear, UnknownError, compile_linear, repeats

IGNORE_BY_DEFAULT: Final = r"\.(js|json|css|png|gif|jpg|jpeg|ico|txt)$"
LONGEST: Final = 10_000
"""Characters of an expression: compiling takes about 0.1 ms for each."""
_CLASSES: Final = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": r"\x00-\x7f",
    "blank": r"\t ",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\t\n\v\f\r ",
    "upper": "A-Z",
    "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}
_PIECE = regex(
    r"""
    (?P<quote>\\Q(?P<literal>.*?)(?:\\E|\Z))
  | (?P<hex>\\x\{(?P<code>[0-9A-Fa-f]{1,6})\})
  | (?P<refused>\\[1-9kpPCg] | \(\?(?:=|!|<=|<!|>|\(|P=|\#) | [*+?}]\+)
  | (?P<escape>\\.)
  | (?P<posix>\[:(?P<class>\^?\w+):\])
  | (?P<name>\(\?<(?=\w))
  | (?P<flags>\(\?(?P<set>[imsU]+)\))
  | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)


class PatternError(ValueError):
    """The expression is not one that both RE2 and Python have."""


def compile_pattern(source: str) -> re.Pattern[str] | Linear:
    """Compile for `search`, which takes no longer than RE2's would, whatever the text.

    Raises:
        PatternError: with the reason, in a few words.
    """
    if len(source) > LONGEST:
        raise PatternError(f"longer than {LONGEST} characters")
    # A search finds `.*x` exactly where it finds `x`, but takes quadratic time for it.
    text = _translated(source.removeprefix(".*"))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of set operators that Python may have in future
            compiled = re.compile(text)
            return compile_linear(text) if repeats(text) else compiled
    except UnknownError as failure:
        raise PatternError(f"not a regular expression: {failure}") from None
    except (re.error, OverflowError, RecursionError) as failure:
        reason = failure.msg if isinstance(failure, re.error) else "too big"
        raise PatternError(f"not a regular expression: {reason}") from None


def _translated(source: str) -> str:
    out: list[str] = []
    closing = 0
    in_class = False
    for found in _PIECE.finditer(source):
        kind, piece = found.lastgroup, found[0]
        if found["refused"] and not (in_class and piece[0] != "\\"):
            what = "look-around, references back and \\p classes do not exist here"
            raise PatternError(f"{piece!r}: {what}")
        if found["flags"] and not in_class:
            opening, more = _flags(found["set"])
            out.append(opening)
            closing += more
        else:
            out.append(_one(found, in_class=in_class, multiline="(?m" in source))
        if kind == "other":
            in_class = (piece == "[") or (in_class and piece != "]")
    return "".join(out) + ")" * closing


def _flags(letters: str) -> tuple[str, int]:
    if "U" in letters:
        raise PatternError("the flag U does not exist here")
    return f"(?{letters}:", 1


def _one(found: re.Match[str], *, in_class: bool, multiline: bool) -> str:
    piece = found[0]
    if found["quote"]:
        return re.escape(found["literal"])
    if found["hex"]:
        code = int(found["code"], 16)
        return re.escape(chr(code)) if code < 0x110000 else piece  # noqa: PLR2004 - Unicode's end
    if found["posix"] and in_class:
        inside = _CLASSES.get(found["class"])
        if inside is None:
            raise PatternError(f"no character class {piece!r}")
        return inside
    if found["name"]:
        return "(?P<"
    if piece == r"\z":
        return r"\Z"
    # Go's `$` is the end of the text; Python's is also the place before a last line feed.
    return r"\Z" if piece == "$" and not in_class and not multiline else piece
