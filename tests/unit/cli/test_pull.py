"""`modelswap pull` as its user runs it, against the stand-in of the hub."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.file_server import stalls
from support.hub import Hub
from support.pulling import gguf

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = "hf:acme/tiny"
FILE = "tiny-Q4_K_M.gguf"
COMMAND = [sys.executable, "-m", "modelswap", "pull"]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with Hub() as server:
        server.add("acme/tiny", {FILE: gguf(tmp_path / "made", 300_000)})
        server.add("acme/gated", {FILE: b"x"}, gated=True)
        yield server


@pytest.fixture
def env(hub: Hub, tmp_path: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    return {
        **kept,
        "HOME": str(tmp_path),
        "HF_ENDPOINT": hub.url,
        "TERM": "xterm",
        "COLUMNS": "100",
    }


def pull(env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], env=env, capture_output=True, text=True, timeout=100, check=False
    )


def test_the_path_is_on_standard_output_and_the_progress_beside_it(
    env: dict[str, str], tmp_path: Path, hub: Hub
) -> None:
    done = pull(env, SOURCE, f"{SOURCE}:q4_k_m")
    paths = done.stdout.splitlines()
    assert done.returncode == 0
    assert len(paths) == 2
    assert paths[0].startswith(f"{tmp_path}/.cache/huggingface/hub/models--acme--tiny/snapshots/")
    assert f"{SOURCE}: asking which files there are" in done.stderr
    assert len(hub.downloads(FILE)) == 1


def test_quiet_prints_the_path_alone(env: dict[str, str]) -> None:
    done = pull(env, SOURCE, "--quiet")
    assert done.stdout.endswith(f"/{FILE}\n")
    assert done.stderr == ""


def test_programs_get_json(env: dict[str, str]) -> None:
    done = pull(env, SOURCE, "--json")
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert told[0]["phase"] == "resolving"
    assert told[-1]["phase"] == "finished"
    assert told[-1]["path"].endswith(FILE)
    assert told[-1]["files"] == [
        {"name": FILE, "done": told[-1]["done"], "total": told[-1]["done"]}
    ]


def test_a_failure_is_one_line_and_an_exit_code(env: dict[str, str]) -> None:
    """The other source is pulled all the same."""
    done = pull(env, "hf:acme/gated", SOURCE, "--quiet")
    assert done.returncode == 1
    assert done.stdout.endswith(f"/{FILE}\n")
    (line,) = done.stderr.splitlines()
    assert line.startswith("hf:acme/gated: failed: acme/gated is gated: accept its licence at ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "name what to pull"),
        (("",), "name what to pull"),
        (("tiny",), "names no source"),
        (("hf:acme/tiny/x.bin",), "does not end in .gguf"),
        (("tiny", "--config", "{folder}/none.yaml"), "none.yaml: cannot be read"),
        (("tiny", "--config", "{folder}/config.yaml"), "model tiny of {folder}/config.yaml has no"),
    ],
)
def test_a_mistake_is_explained(
    env: dict[str, str], tmp_path: Path, arguments: tuple[str, ...], text: str
) -> None:
    (tmp_path / "config.yaml").write_text("models:\n  tiny:\n    cmd: server --port ${PORT}\n")
    done = pull(env, *(argument.format(folder=tmp_path) for argument in arguments))
    assert done.returncode == 1
    assert text.format(folder=tmp_path) in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_keeps_what_came(env: dict[str, str], hub: Hub) -> None:
    """It ends at once and says how to go on; the next run asks for the rest alone."""
    hub.fail("/storage/", stalls(100_000))
    running = subprocess.Popen([*COMMAND, SOURCE, "--json"], env=env, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    assert running.stdout is not None
    for line in running.stdout:
        if json.loads(line)["done"] == 100_000:
            break
    running.send_signal(signal.SIGINT)
    _, told = running.communicate(timeout=60)
    assert running.returncode == 130
    assert told == "\nstopped; what came is kept: the same command goes on from there\n"
    assert pull(env, SOURCE).returncode == 0
    assert hub.downloads(FILE)[-1].range == "bytes=100000-"


def test_a_terminal_gets_bars(env: dict[str, str]) -> None:
    ours, theirs = pty.openpty()
    running = subprocess.Popen([*COMMAND, SOURCE], env=env, stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # EIO: the other end is closed
        while piece := os.read(ours, 1 << 16):
            shown += piece
    os.close(ours)
    path, _ = running.communicate(timeout=60)
    assert running.returncode == 0
    assert path.endswith(b"/tiny-Q4_K_M.gguf\n")
    assert "\N{BOX DRAWINGS HEAVY HORIZONTAL}".encode() in shown
    assert SOURCE.encode() in shown


def test_help_shows_each_kind_of_source(env: dict[str, str]) -> None:
    told = pull(env, "--help").stdout
    for text in ("hf:OWNER/REPO:Q6_K", "https://HOST/FILE.gguf", "ollama:NAME:TAG", "HF_TOKEN"):
        assert text in told


def test_a_reader_that_goes_away_ends_it(env: dict[str, str], hub: Hub) -> None:
    """As with `| head -1`: quietly, and not only when the model is here."""
    hub.fail("/storage/", stalls(100_000))
    with subprocess.Popen([*COMMAND, SOURCE, "--json"], env=env, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:  # fmt: skip
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.readline()
        running.stdout.close()
        assert running.stderr.read() == ""
    assert running.returncode == 1


def test_an_output_that_cannot_be_written_is_explained(env: dict[str, str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*COMMAND, SOURCE, "--json"], env=env, text=True, stdout=full,
                              stderr=subprocess.PIPE, timeout=100, check=False)  # fmt: skip
    assert done.returncode == 1
    assert "the output cannot be written: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
