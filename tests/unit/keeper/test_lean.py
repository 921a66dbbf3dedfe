"""The keeper's lean functions do what those of the standard library do."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelswap.keeper.lean import dumps, loads, suppress

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
