"""The keeper's lean functions do what those of the standard library do."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelswap.keeper.lean import dumps, loads, prctl, suppress

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_json_is_that_of_the_standard_library(value: Any) -> None:
    assert dumps(value) == json.dumps(value)
    assert loads(json.dumps(value)) == value


@pytest.mark.parametrize("value", ["\udc80 not UTF-8", "\x00", '"\\'])
def test_text_of_the_file_system_survives(value: str) -> None:
    assert dumps(value) == json.dumps(value)
    assert loads(dumps(value)) == value


@pytest.mark.parametrize("text", ["", "{", "[1,]", "nul", "1 2", '{"a": }', "{1: 2}"])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        loads(text)


def test_what_has_no_json_is_refused() -> None:
    with pytest.raises(TypeError):
        dumps(object())


def test_suppresses_the_named_errors_only() -> None:
    with suppress(FileNotFoundError, ValueError):
        raise FileNotFoundError
    with pytest.raises(PermissionError), suppress(FileNotFoundError):
        raise PermissionError


@pytest.mark.skipif(prctl is None, reason="this system has no prctl")
def test_prctl_reaches_the_kernel() -> None:
    """A timer slack that is set is the one that is read."""
    assert prctl is not None
    set_timer_slack, get_timer_slack = 29, 30
    before = prctl(get_timer_slack, 0)
    assert prctl(set_timer_slack, 12_345) == 0
    assert prctl(get_timer_slack, 0) == 12_345
    prctl(set_timer_slack, before)
