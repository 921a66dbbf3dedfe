"""A command text is split into words: comments removed, lines joined. Pure.

Guarantees: no shell is involved: no variable, glob, `~` or operator has a meaning. There are two
dialects: POSIX quoting, and the rules of Windows' own start-up code.
"""

from __future__ import annotations

from typing import Final

from modelswap.deferred import regex

_BLANKS: Final = " \t\n"
_WINDOWS_BLANKS: Final = " \t\r\n"
_WINDOWS_TOKEN = regex(r'\\*"+|\\+|[^\\"]')
_PLAIN = regex(r"""[^ \t\n'"\\]+""")
_ESCAPABLE: Final = '$`"\\'


def strip_comments(text: str) -> str:
    if "#" not in text:
        return text
    return "\n".join(line for line in text.split("\n") if not line.lstrip().startswith("#"))


def split(text: str, *, windows: bool = False) -> tuple[str, ...]:
    """Split a command of one or many lines into arguments; none for an empty one."""
    text = joined(text)
    return _split_windows(text) if windows else _split_posix(text)


def joined(text: str) -> str:
    return "\n".join(_joined(line) for line in strip_comments(text).split("\n"))


def _joined(line: str) -> str:
    """Replace the backslash at a line's end by a blank, inside quotes, too."""
    trimmed = line.strip()
    return f"{trimmed[:-1]} " if trimmed.endswith("\\") else line


def _split_posix(text: str) -> tuple[str, ...]:
    words: list[str] = []
    word: list[str] | None = None
    at, end = 0, len(text)
    while at < end:
        char = text[at]
        at += 1
        if char in _BLANKS:
            if word is not None:
                words.append("".join(word))
            word = None
            continue
        word = [] if word is None else word
        if char == "'":
            close = text.find("'", at)
            close = end if close < 0 else close
            word.append(text[at:close])
            at = close + 1
        elif char == '"':
            at = _double_quoted(text, at, word)
        elif char == "\\":
            word.append(text[at : at + 1].replace("\n", ""))
            at += 1
        else:
            run = _PLAIN.match(text, at - 1)
            assert run is not None
            word.append(run[0])
            at = run.end()
    if word is not None:
        words.append("".join(word))
    return tuple(words)


def _double_quoted(text: str, at: int, word: list[str]) -> int:
    """Read up to the closing quote or the end; return the position after it."""
    while at < len(text) and text[at] != '"':
        following = text[at + 1 : at + 2]
        if text[at] == "\\" and following and following in _ESCAPABLE + "\n":
            word.append(following.replace("\n", ""))
            at += 2
        else:
            word.append(text[at])
            at += 1
    return at + 1


def _split_windows(text: str) -> tuple[str, ...]:
    words: list[str] = []
    word: list[str] | None = None
    quoted = False
    for token in _WINDOWS_TOKEN.findall(text):
        if not quoted and token in _WINDOWS_BLANKS:
            if word is not None:
                words.append("".join(word))
            word = None
            continue
        word = [] if word is None else word
        slashes, quotes = token.count("\\"), token.count('"')
        if not quotes:
            word.append(token)
            continue
        word.append("\\" * (slashes // 2))
        literal, toggles = _quotes(quotes - slashes % 2, quoted=quoted)
        word.append('"' * (slashes % 2 + literal))
        quoted ^= toggles
    if word is not None:
        words.append("".join(word))
    return tuple(words)


def _quotes(count: int, *, quoted: bool) -> tuple[int, bool]:
    """Return the literal marks that a row of quote marks means, and whether quoting changes.

    The first mark opens when nothing is open; then two are one literal mark, a single one closes.
    """
    inside = count if quoted else max(0, count - 1)
    state = quoted or count > 0
    literal, closing = divmod(inside, 2)
    return literal, (state ^ bool(closing)) != quoted
