"""How far a load is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from modelswap.api.llama_router import load_progress
from modelswap.api.llama_router.load_progress import progress_of, stages_of
from modelswap.procfs import HAS_PROC

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def argv(tmp_path: Path) -> list[str]:
    """A command with a model of 1000 bytes and a projector of 200."""
    for name, size in (("model", 1000), ("projector", 200)):
        (tmp_path / name).write_bytes(bytes(size))
    return ["s", "-m", str(tmp_path / "model"), "--mmproj", str(tmp_path / "projector")]


def test_stages(argv: list[str]) -> None:
    """In the order in which llama-server loads; a file that is not there is none."""
    assert stages_of(argv) == {"text_model": 1000, "mmproj_model": 200}
    assert list(stages_of([*argv[3:], *argv[:3]])) == ["text_model", "mmproj_model"]
    assert stages_of(["s", "--model", "/nowhere", "-m"]) == {}
    assert stages_of(["s", "-m", "\0"]) == {}


@pytest.mark.parametrize(
    ("counted", "current", "value"),
    [
        ((250, 100), "text_model", 0.25),
        ((100, 500), "text_model", 0.5),
        ((1050, 0), "mmproj_model", 0.25),
        ((9999, 0), "mmproj_model", 1.0),
    ],
)
def test_shares(
    monkeypatch: pytest.MonkeyPatch,
    argv: list[str],
    counted: tuple[int, int],
    current: str,
    value: float,
) -> None:
    """The larger of what is read and what is held, of the stage that it reaches."""
    monkeypatch.setattr(load_progress, "_read_and_held", lambda _: counted)
    stages = ["text_model", "mmproj_model"]
    assert progress_of(1, argv) == {"stages": stages, "current": current, "value": value}


def test_nothing_known(monkeypatch: pytest.MonkeyPatch, argv: list[str]) -> None:
    """Another kind of server, or another system."""
    assert progress_of(os.getpid(), ["vllm", "serve"]) is None
    monkeypatch.setattr(load_progress, "_read_and_held", lambda _: (0, 0))
    assert progress_of(1, argv) is None


@pytest.mark.skipif(not HAS_PROC, reason="counts are read from /proc")
def test_a_real_process(argv: list[str]) -> None:
    """This process holds more than the files' sizes."""
    progress = progress_of(os.getpid(), argv)
    assert progress is not None
    assert progress["value"] == 1.0
