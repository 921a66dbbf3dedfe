"""Header fields are written as the RFC asks."""

from __future__ import annotations

from email.utils import formatdate

from hypothesis import given
from hypothesis import strategies as st

from modelswap.http.message.fields import http_date


@given(st.integers(min_value=0, max_value=4_000_000_000))
def test_a_date_is_that_of_the_standard_library(wall: int) -> None:
    assert http_date(wall) == formatdate(wall, usegmt=True).encode()
