"""The macro `${llama-server}`: a real one where there is one, else the engine."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from modelswap.config.load import load

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = 'models:\n  m:\n    cmd: ${llama-server} --port ${PORT} -m "a b.gguf"\n'
REST = ("--port", "5800", "-m", "a b.gguf")


@pytest.fixture
def argv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """The command of CONFIG with a folder of a difficult name as the whole PATH."""
    folder = tmp_path / "it's here"
    folder.mkdir(exist_ok=True)
    monkeypatch.setenv("PATH", str(folder))
    (tmp_path / "config.yaml").write_text(CONFIG)
    plan = load(tmp_path / "config.yaml").plan
    assert plan is not None
    return next(iter(plan.models.values())).argv


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "it's here" / "llama-server"
    path.parent.mkdir()
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_the_program_on_the_path_comes_first(program: Path, argv: tuple[str, ...]) -> None:
    """Blanks and quotes in its path reach the command whole."""
    assert argv == (str(program), *REST)


def test_else_the_look_alike_of_this_interpreter(argv: tuple[str, ...]) -> None:
    """It runs with the Python that modelswap runs with."""
    assert argv == (sys.executable, "-m", "modelswap.engine", *REST)
