"""A program that cannot start says why."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from pathlib import Path

BROKEN_KEEPER = """
import sys
from modelswap.app.start import serve
from modelswap.fleet import Fleet
from modelswap.app.options import Options, StartError
from pathlib import Path

async def open_(self):
    raise {error}

Fleet.open = open_
try:
    serve(Options(config=Path(sys.argv[1]), config_dir=None, listen="127.0.0.1:0"))
except StartError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("TimeoutError", "modelswap: the keeper cannot be used: no answer in time"),
        ("OSError(24, 'Too many')", "modelswap: the keeper cannot be used: [Errno 24] Too many"),
    ],
)
def test_a_keeper_that_fails_is_not_called_a_taken_port(
    tmp_path: Path, error: str, said: str
) -> None:
    """A failure of the keeper is not reported as one of the address."""
    config = tmp_path / "config.yaml"
    config.write_text("models: {}")
    script = BROKEN_KEEPER.format(error=error)
    found = subprocess.run(
        [sys.executable, "-c", script, str(config)],
        capture_output=True,
        check=True,
        text=True,
        timeout=30,
        env={"MODELSWAP_STATE_DIR": str(tmp_path), "HOME": str(tmp_path)},
    )
    assert found.stdout.splitlines()[-1] == said


def test_a_configuration_with_mistakes_leaves_no_keeper(tmp_path: Path) -> None:
    """The keeper that was started meanwhile ends before the program does."""
    config = tmp_path / "config.yaml"
    config.write_text("models: 1")
    argv = [sys.executable, "-m", "modelswap", "serve", str(config), "--state-dir", str(tmp_path)]
    found = subprocess.run(argv, capture_output=True, check=False, text=True, timeout=30)
    assert found.returncode == 1
    assert "not started: 1 problem(s)" in found.stderr
    assert (tmp_path / "keeper.log").exists(), "it was started"
    running = [one.info["cmdline"] or [] for one in psutil.process_iter(["cmdline"])]
    assert [line for line in running if str(tmp_path) in line] == []
