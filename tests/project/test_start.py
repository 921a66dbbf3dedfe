"""What `modelswap serve` and the keeper import before they serve: time and memory of every start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

SRC = Path(__file__).parents[2] / "src"

NOT_FOR_SERVE: Final = frozenset(
    {
        "_hashlib", "_ssl", "bz2", "click", "csv", "ctypes", "email", "hashlib", "html",
        "http.client", "importlib.metadata", "importlib.resources", "lzma", "multiprocessing",
        "prometheus_client", "psutil", "pynvml", "random", "rich", "secrets", "shutil",
        "sqlite3.dump", "tempfile", "unittest", "xml", "zipfile",
        "modelswap.api.control.observability", "modelswap.config.messages.foreign_names",
        "modelswap.core.placement.matrix", "modelswap.devices.facts",
        "modelswap.launch.diagnosis.symptoms", "modelswap.launch.diagnosis.unstartable",
        "modelswap.observe.activity.export", "modelswap.observe.decisions",
        "modelswap.observe.metrics.exposition", "modelswap.pull",
    }
)  # fmt: skip
"""Each costs 0.2 to 20 ms or 0.05 to 5 MB, and is imported where it is used."""
NOT_FOR_THE_KEEPER: Final = frozenset(
    {
        "asyncio", "collections", "contextlib", "ctypes", "dataclasses", "enum", "functools",
        "json", "pathlib", "re", "signal", "socket", "subprocess", "typing",
    }
)  # fmt: skip
"""Each brings a tenth to a whole megabyte into a process that lives as long as the models."""
MOST_MODULES: Final = 514
"""In a started front, those of the interpreter too: a quarter of a millisecond each."""

FRONT = """
import sys
from modelswap.cli import main
from modelswap.net import tls

def import_uvloop(**used):
    from modelswap.app.program import Program  # the last that is imported before the loop runs

    async def serve(self):
        print("MODULES", *sys.modules, file=sys.stderr)
        self._shutdown.asked.set()
        return await serve_till_the_end(self)

    serve_till_the_end, Program._serve = Program._serve, serve
    return really_import_uvloop(**used)

really_import_uvloop, tls.import_uvloop = tls.import_uvloop, import_uvloop
main()
"""
KEEPER = """
import sys
sys.path.append(sys.argv[1])
import modelswap.keeper.supervisor
print("MODULES", *sys.modules, file=sys.stderr)
"""


def imported(*argv: str) -> set[str]:
    """Return the modules that the program told."""
    env = {**os.environ, "PYTHONPATH": str(SRC)}
    told = subprocess.run(
        [sys.executable, *argv], capture_output=True, text=True, timeout=60, env=env, check=False
    ).stderr
    lines = [line.split()[1:] for line in told.splitlines() if line.startswith("MODULES ")]
    assert lines, told
    return set(lines[0])


@pytest.fixture(scope="module")
def of_the_front(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    folder = tmp_path_factory.mktemp("start")
    config = folder / "config.yaml"
    config.write_text("models:\n  a:\n    cmd: server --port ${PORT}\n")
    arguments = ["--config", str(config), "--listen", "127.0.0.1:0", "--state-dir", str(folder)]
    return imported("-c", FRONT, "serve", *arguments)


def test_serve_imports_what_the_first_answer_needs(of_the_front: set[str]) -> None:
    assert sorted(of_the_front & NOT_FOR_SERVE) == []


def test_serve_imports_few_modules(of_the_front: set[str]) -> None:
    assert len(of_the_front) <= MOST_MODULES


def test_the_keeper_imports_little() -> None:
    assert sorted(imported("-I", "-S", "-c", KEEPER, str(SRC)) & NOT_FOR_THE_KEEPER) == []
