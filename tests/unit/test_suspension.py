"""Time in which the process did not run."""

from __future__ import annotations

import pytest

from modelswap.suspension import time_lost


@pytest.mark.parametrize(("now", "lost"), [(9.0, 0.0), (10.9, 0.0), (11.0, 0.0), (15.5, 5.5)])
def test_time_lost(now: float, lost: float) -> None:
    """A busy loop is not a suspension; a timer that is late by seconds is one, for that long."""
    assert time_lost(10.0, now) == lost
