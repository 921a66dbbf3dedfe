"""The lines of a pull where there is no terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modelswap.cli.pull_output import Bars, JsonLines, Lines, Paths, output
from modelswap.pull.progress import PullPhase, PullProgress
from modelswap.units import Bytes

if TYPE_CHECKING:
    import pytest


def at(done: int, phase: PullPhase = PullPhase.DOWNLOADING, **more: Any) -> PullProgress:
    return PullProgress(source="hf:a/b", phase=phase, done=Bytes(done), total=Bytes(10**9), **more)


def test_a_line_for_each_tenth_and_each_phase(capsys: pytest.CaptureFixture[str]) -> None:
    """A log is not flooded."""
    lines = Lines()
    for percent in range(0, 31, 2):
        lines.show(at(percent * 10**7, rate=2_500_000))
    stalled = at(3 * 10**8, PullPhase.STALLED, text="nothing has come for 12 s; it goes on trying")
    lines.show(stalled)
    lines.show(stalled)
    lines.show(at(3 * 10**8, PullPhase.FAILED, text="broken"))
    lines.end(at(3 * 10**8, PullPhase.FAILED, text="broken"), None)
    assert capsys.readouterr().err.splitlines() == [
        "hf:a/b: 0 B of 1.00 GB (0 %), 2 MB/s",
        "hf:a/b: 100 MB of 1.00 GB (10 %), 2 MB/s",
        "hf:a/b: 200 MB of 1.00 GB (20 %), 2 MB/s",
        "hf:a/b: 300 MB of 1.00 GB (30 %), 2 MB/s",
        "hf:a/b: nothing has come for 12 s; it goes on trying",
        "hf:a/b: failed: broken",
    ]


def test_each_reader_has_its_output() -> None:
    assert type(output(as_json=True, is_quiet=True)) is JsonLines
    assert type(output(as_json=False, is_quiet=True)) is Paths
    assert type(output(as_json=False, is_quiet=False)) in {Lines, Bars}
