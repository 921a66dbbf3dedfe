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
        "pulling hf:a/b … 0 %, 0 of 1 GB, 2.5 MB/s, 7 min left",
        "pulling hf:a/b … 10 %, 0.1 of 1 GB, 2.5 MB/s, 6 min left",
        "pulling hf:a/b … 20 %, 0.2 of 1 GB, 2.5 MB/s, 5 min left",
        "pulling hf:a/b … 30 %, 0.3 of 1 GB, 2.5 MB/s, 5 min left",
        "the pull of hf:a/b has stalled: nothing has come for 12 s; it goes on trying",
        "hf:a/b: failed: broken",
    ]


def test_each_reader_has_its_output() -> None:
    assert type(output(as_json=True, is_quiet=True)) is JsonLines
    assert type(output(as_json=False, is_quiet=True)) is Paths
    assert type(output(as_json=False, is_quiet=False)) in {Lines, Bars}
