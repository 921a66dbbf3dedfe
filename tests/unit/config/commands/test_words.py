"""Command texts as arguments, in both dialects."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelswap.config.commands.words import split, strip_comments

POSIX = [
    ("", []),
    ("  \n\t ", []),
    ("a b\tc\nd", ["a", "b", "c", "d"]),
    ("a\rb", ["a\rb"]),
    (r"a\ b \" \$x", ["a b", '"', "$x"]),
    (r"'a\ \" $x'", [r"a\ \" $x"]),
    (r'"a\"b\\c\$d\`e\nf"', [r'a"b\c$d`e\nf']),
    ('a"b c"d', ["ab cd"]),
    ("a '' \"\" b", ["a", "", "", "b"]),
    ("'open to the end", ["open to the end"]),
    ('"open\n', ["open\n"]),
    ('"\\', [" "]),
    ("a\\\nb", ["a", "b"]),
    ("a \\   \n b", ["a", "b"]),
    ('"x \\\ny"', ["x  \ny"]),
    ("# all\na\n  # b\nc # d", ["a", "c", "#", "d"]),
    ("a; b | c && d > e $HOME ~ *", ["a;", "b", "|", "c", "&&", "d", ">", "e", "$HOME", "~", "*"]),
    ('{"a": 1}', ["{a:", "1}"]),
]

WINDOWS = [
    ("", []),
    (r"C:\a\b.exe -x", [r"C:\a\b.exe", "-x"]),
    (r'"C:\a b\c.exe" d', [r"C:\a b\c.exe", "d"]),
    ("a\r\nb", ["a", "b"]),
    ("'a b'", ["'a", "b'"]),
    (r'a\\"b c"', [r"a\b c"]),
    (r"a\\\"b", [r"a\"b"]),
    (r"\"a\"", ['"a"']),
    ('"a ""b"" c"', ['a "b" c']),
    ('""', [""]),
    ('"open end', ["open end"]),
    (r"a\b\\c", [r"a\b\\c"]),
    ("a \\\nb", ["a", "b"]),
]


@pytest.mark.parametrize(("text", "words"), POSIX)
def test_posix_words(text: str, words: list[str]) -> None:
    """A command is split by POSIX quoting, without a shell."""
    assert list(split(text)) == words


@pytest.mark.parametrize(("text", "words"), WINDOWS)
def test_windows_words(text: str, words: list[str]) -> None:
    """A command is split by the rules of Windows' start-up code."""
    assert list(split(text, windows=True)) == words


def test_comment_lines_are_dropped() -> None:
    """A line whose first character is `#` is a comment; a later `#` is not."""
    assert strip_comments("# a\n b # c\n\t# d") == " b # c"


@given(st.lists(st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]))))
def test_quoted_words_come_back(words: list[str]) -> None:
    """What `shlex.join` quotes, the splitter reads back."""
    joined = shlex.join(words)
    if not joined.lstrip().startswith("#") and not joined.strip().endswith("\\"):
        assert list(split(joined)) == words


@given(st.text(), st.booleans())
def test_any_text_is_split(text: str, windows: bool) -> None:  # noqa: FBT001 - a strategy's value
    """No text makes the splitter fail, or invent characters."""
    assert all(set(word) <= set(text) | {" "} for word in split(text, windows=windows))
