"""Go's regular expressions."""

from __future__ import annotations

import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelswap.config.regex.linear_regex import Linear
from modelswap.config.regex.re2_syntax import IGNORE_BY_DEFAULT, PatternError, compile_pattern

FOUND = [
    (IGNORE_BY_DEFAULT, "/a/b.css", True),
    (IGNORE_BY_DEFAULT, "/a/b.css\n", False),
    (IGNORE_BY_DEFAULT, "/a/b.cssx", False),
    (r".*\.(js)$", "x.js", True),
    (r"^/api/", "/api/x", True),
    (r"^/api/", "/v/api/x", False),
    (r"a\z", "ba", True),
    (r"(?i)ABC", "xabcx", True),
    (r"x(?i)ABC", "xabc", True),
    (r"x(?i)ABC", "Xabc", False),
    (r"(?m)a$", "a\nb", True),
    (r"\Qa.b\E+", "a.bb", True),
    (r"\Qa.b", "axb", False),
    (r"[[:alpha:]]+\d", "ab1", True),
    (r"[[:^x]+", "[", True),
    (r"\x{41}", "A", True),
    (r"(?<n>a)(?P<m>b)", "ab", True),
    (r"[$]", "$", True),
    (r"(?s:.)", "\n", True),
]


@pytest.mark.parametrize(("pattern", "text", "expected"), FOUND)
def test_pattern_means_what_it_means_in_go(pattern: str, text: str, expected: bool) -> None:  # noqa: FBT001 - a value of the table
    """A search finds what RE2 would find."""
    assert (compile_pattern(pattern).search(text) is not None) == expected


REFUSED = [
    "(?=a)",
    "(?!a)",
    "(?<=a)b",
    "(?<!a)b",
    "(?>a)",
    r"(a)\1",
    "(?P<n>a)(?P=n)",
    "a*+",
    r"\pL",
    r"\p{Greek}",
    "(?U)a",
    "[[:nope:]]",
    "(",
    "a**",
    r"\x{FFFFFF}",
    "[z-a]",
]


@pytest.mark.parametrize("pattern", REFUSED)
def test_pattern_that_re2_refuses(pattern: str) -> None:
    """Look-around, references back and broken expressions are refused."""
    with pytest.raises(PatternError):
        compile_pattern(pattern)


@given(st.text())
def test_any_text_compiles_or_is_refused(source: str) -> None:
    """No text brings another error."""
    with suppress(PatternError):
        assert isinstance(compile_pattern(source), re.Pattern | Linear)
