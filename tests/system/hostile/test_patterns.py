"""Expressions of the configuration on clients' paths: Python's results, in bounded time."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelswap.config.regex.linear_regex import Linear, UnknownError, compile_linear
from modelswap.config.regex.re2_syntax import PatternError, compile_pattern

PIECES = st.sampled_from(
    ["a", "b", ".", r"\w", "[ab]", "[^a-b]", r"[\d-]", "^", "$", r"\b", r"\B", r"\Z", r"\.", "(?:)"]
)
EXPRESSIONS = st.recursive(
    PIECES,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda two: f"({two[0]}|{two[1]})"),
        st.tuples(
            inner, st.sampled_from(["*", "+", "?", "*?", "+?", "{2}", "{1,3}", "{2,}", "{0,2}?"])
        ).map(lambda pair: f"(?:{pair[0]}){pair[1]}"),
        inner.map(lambda one: f"(?i:{one})"),
        inner.map(lambda one: f"(?s:{one})"),
    ),
    max_leaves=8,
)


@given(EXPRESSIONS, st.lists(st.text("abAB1.- \n/", max_size=8), max_size=5))
def test_it_finds_what_python_finds(source: str, texts: list[str]) -> None:
    """On texts short enough for Python's engine both say the same."""
    linear, pattern = compile_linear(source), re.compile(source)
    for text in texts:
        assert bool(linear.search(text)) == bool(pattern.search(text))


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ("(a+)+$x", "a" * 8000),
        ("(a|a)*$", "a" * 8000 + "!"),
        ("(a|aa)+$", "a" * 8000 + "!"),
        ("^(([a-z])+.)+[A-Z]([a-z])+$", "a" * 8000),
        (r"(.*)*\.js", "/" * 8000),
        ("a*a*a*a*a*a*x", "a" * 8000),
        ("(x*)*(y*)*(x*)*z", "xy" * 4000),
    ],
)
@pytest.mark.timeout(20)
def test_catastrophic_patterns_end(source: str, path: str) -> None:
    """An expression that takes Python's engine years ends at once."""
    compiled = compile_pattern(source)
    assert isinstance(compiled, Linear)
    compiled.search(path)


def test_what_is_too_big_is_refused() -> None:
    """An expression with more states than the bound is a mistake of the file, found when it is loaded."""
    with pytest.raises(UnknownError):
        compile_linear("((a{50}){50}){50}")
    with pytest.raises(PatternError, match="too big"):
        compile_pattern("((a{50}){50}){50}")
