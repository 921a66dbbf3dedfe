"""What is predicted of a server's memory, beside what a real engine takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.memory_cases import NEAR, QUICK, Case, run

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("xllamacpp", reason="the extra `engine` is not installed")


@pytest.mark.parametrize("case", QUICK, ids=lambda case: f"{case.name} {case.flags}")
def test_the_engine_takes_what_is_predicted(case: Case, tmp_path: Path) -> None:
    """The largest resident size is within 15 % of the prediction."""
    found = run(case, tmp_path)
    assert found.predicted == pytest.approx(found.measured, rel=NEAR)
