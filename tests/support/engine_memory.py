"""What a real llama.cpp engine takes of the machine's memory while it serves."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import sys
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from support.server import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TOKEN = 300
"""A token of the vocabularies in `sized_models` that is text."""


def engine_command(model: Path, port: int, flags: Sequence[str]) -> list[str]:
    start = (sys.executable, "-m", "modelswap.engine", "--model", str(model))
    return [*start, "--port", str(port), *flags]


def measured_peak(command: Sequence[str], port: int, tokens: int) -> int:
    """Start the engine, have it read a prompt, and return the largest resident size, in bytes.

    It counts memory of its own and pages of mapped files.
    """
    with _running(command) as process:
        wait_until(lambda: _is_ready(port, process), what="the engine serves")
        is_embedding = "--embedding" in command
        prompt = [TOKEN] * tokens
        if is_embedding:
            _post(port, "/v1/embeddings", {"input": prompt})
        else:
            _post(port, "/completion", {"prompt": prompt, "n_predict": 2, "temperature": 0})
        status = Path(f"/proc/{process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) << 10


@contextlib.contextmanager
def _running(command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _is_ready(port: int, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, f"the engine ended with {process.returncode}"
    try:
        return _ask(port, "GET", "/health")[0] == HTTPStatus.OK
    except OSError:
        return False


def _post(port: int, path: str, body: dict[str, object]) -> None:
    status, answer = _ask(port, "POST", path, json.dumps(body).encode())
    assert status == HTTPStatus.OK, answer


def _ask(port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=110)
    with contextlib.closing(connection):
        connection.request(method, path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
