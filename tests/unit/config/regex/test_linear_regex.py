"""The linear-time engine against Python's own."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelswap.config.regex.linear_regex import (
    MOST_STATES,
    UnknownError,
    compile_linear,
    repeats,
)

PATTERNS = [
    "(a|b)*c", "^a+$", r"\bab?\b", "a{2,3}", "(?i:AB)+", "[^a]+b", "[a-c]{1,}", r"\d+\.", ".+b",
    r"\Aa*\Z", "(?:a|)+b", r"\W\w*", "a*?b", r"\s*\S\D",
]  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
@given(text=st.text("abcAB1 .\n", max_size=12))
def test_finds_what_python_finds(pattern: str, text: str) -> None:
    """Both agree on whether an expression is in a text."""
    assert bool(compile_linear(pattern).search(text)) == bool(re.search(pattern, text))


def test_a_pattern_that_backtracks_takes_linear_time() -> None:
    """`(a+)+$` over many characters ends at once."""
    assert compile_linear("(a+)+$").search("a" * 2000 + "b") is None


@pytest.mark.parametrize("pattern", [r"(a)\1", "(?=a)b", f"a{{{MOST_STATES + 1}}}"])
def test_what_is_unknown_or_too_big_is_refused(pattern: str) -> None:
    """Nothing is guessed, and nothing grows without bound."""
    with pytest.raises(UnknownError):
        compile_linear(pattern)


def test_only_repetitions_need_it() -> None:
    """An expression without a repetition is left to Python's engine."""
    assert not repeats(r"\.(js|css)$")
    assert repeats("(a|b*)c")
