"""Functions of the C library are found and called."""

from __future__ import annotations

import sys

import pytest

from modelswap.c_library import c_function

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux' functions are used")


def test_numbers_reach_the_kernel() -> None:
    """A timer slack that is set is the one that is read."""
    prctl = c_function("prctl")
    assert prctl is not None
    set_timer_slack, get_timer_slack = 29, 30
    before = prctl(get_timer_slack, 0, 0, 0, 0)
    assert prctl(set_timer_slack, 12_345, 0, 0, 0) == 0
    assert prctl(get_timer_slack, 0, 0, 0, 0) == 12_345
    prctl(set_timer_slack, before, 0, 0, 0)


def test_bytes_and_null_are_pointers() -> None:
    length, now = c_function("strlen"), c_function("gettimeofday")
    assert length is not None
    assert now is not None
    assert length(b"four") == 4
    assert now(None, None) == 0


def test_a_function_that_is_missing() -> None:
    assert c_function("no_such_function") is None
