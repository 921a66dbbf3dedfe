"""The demonstration: its workspace, and the whole of it as a user sees it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("gguf", reason="needs modelswap[engine]")
pytest.importorskip("xllamacpp", reason="needs modelswap[engine]")

import yaml

from modelswap.demo import requests, terminal, workspace
from modelswap.units import Seconds

SRC = Path(__file__).parents[3] / "src"


def test_the_workspace_is_a_configuration_of_every_model(tmp_path: Path) -> None:
    """Paths with blanks and quotes reach the command whole."""
    folder = tmp_path / "it's a folder"
    text = workspace.build(folder, start_port=4000).read_text()
    models = yaml.safe_load(text)["models"]
    assert list(models) == [model.id for model in workspace.MODELS]
    assert all("${llama-server}" in model["cmd"] for model in models.values())
    assert all((folder / f"{name}.gguf").stat().st_size > 100_000 for name in models)


def test_the_workspace_keeps_models_that_are_there(tmp_path: Path) -> None:
    """A second demonstration in the same folder starts at once."""
    workspace.build(tmp_path, start_port=4000)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.gguf")}
    workspace.build(tmp_path, start_port=4000)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.gguf")} == before
    assert not list(tmp_path.glob("*.part"))


def test_every_model_has_a_request_for_it() -> None:
    """The curl lines that are shown name the model they are for."""
    for model in workspace.MODELS:
        path, body = requests.request_for(model)
        assert path.startswith("/v1/")
        assert json.loads(json.dumps(body))["model"] == model.id


def test_requests_stop_when_the_program_ends() -> None:
    """A program that exits at its start is reported, not waited for."""
    address = f"127.0.0.1:{terminal.any_free_port()}"
    with pytest.raises(requests.DemoError, match="ended before it was up"):
        requests.wait_until_up(address, lambda: False, timeout=Seconds(60.0))


def test_a_taken_port_is_seen() -> None:
    """The demonstration moves to another port, or says so."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert not terminal.is_free(other.getsockname()[1])
    assert terminal.is_free(terminal.any_free_port())


def command(*flags: str | Path) -> list[str]:
    return [sys.executable, "-m", "modelswap", "demo", *map(str, flags)]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(SRC), "COLUMNS": "120"}


def demo(*flags: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*flags),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )


def test_shows_every_swap_and_leaves_nothing_running(tmp_path: Path) -> None:
    """The tour asks each model through the real program, then everything has ended."""
    done = demo("--once", "--dir", tmp_path, "--port", str(terminal.any_free_port()))
    assert done.returncode == 0, done.stdout + (tmp_path / "modelswap.log").read_text()
    rows = [line for line in done.stdout.splitlines() if "answered after" in line]
    assert [row.split()[0] for row in rows] == ["ada", "bob", "vec", "ada"]
    assert "64 numbers" in done.stdout
    assert processes_mentioning(tmp_path) == []


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_serves_until_a_signal(tmp_path: Path, signum: signal.Signals) -> None:
    """After the tour it goes on serving; Ctrl-C or a kill ends all of it, with code 0."""
    port = terminal.any_free_port()
    process = subprocess.Popen(
        command("--dir", tmp_path, "--port", str(port)),
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        seen = "".join(iter(process.stdout.readline, "Ctrl-C ends it.\n"))
        assert f"http://127.0.0.1:{port}/v1/chat/completions" in seen
        socket.create_connection(("127.0.0.1", port)).close()
        process.send_signal(signum)
        assert process.wait(30) == 0
    assert processes_mentioning(tmp_path) == []


def test_reports_a_program_that_cannot_start(tmp_path: Path) -> None:
    """A state folder that cannot be made is reported in one line, with the place of the log."""
    (tmp_path / "state").write_text("not a folder")
    done = demo("--once", "--dir", tmp_path, "--port", str(terminal.any_free_port()))
    assert done.returncode == 1
    assert "modelswap ended by itself (exit code" in done.stdout
    assert str(tmp_path / "modelswap.log") in done.stdout


def test_says_when_its_port_is_taken() -> None:
    """One line, exit code 1."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = demo("--once", "--port", str(port))
    assert done.returncode == 1
    assert f"port {port} is taken" in done.stderr


def processes_mentioning(folder: Path) -> list[str]:
    """Command lines of living processes that name the folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it has just ended
        if str(folder) in text:
            found.append(text)
    return found
