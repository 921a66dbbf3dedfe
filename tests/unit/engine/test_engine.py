"""The real engine: serves like llama-server, ends promptly, refuses in one line."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("xllamacpp", reason="needs modelswap[engine]")
pytest.importorskip("gguf", reason="needs modelswap[engine]")

from modelswap.demo.weights import write_model

if TYPE_CHECKING:
    from collections.abc import Iterator

SRC = Path(__file__).parents[3] / "src"
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
CHAT = {"messages": [{"role": "user", "content": "Hi!"}], "max_tokens": 4}


def command(*flags: str | Path) -> list[str]:
    return [sys.executable, "-m", "modelswap.engine", *map(str, flags)]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(SRC)}


def refusal(*flags: str | Path) -> str:
    """Run an engine that must end by itself with code 1; return what it says."""
    done = subprocess.run(
        command(*flags), env=environment(), capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1
    return done.stderr


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Engine:
    """One running engine; its log is kept in a file, so that it can never block on it."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def ask(
        self, path: str, body: dict[str, Any] | None = None, key: str = ""
    ) -> tuple[int, dict[str, Any]]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "Authorization": f"Bearer {key}"},
        )
        try:
            with OPENER.open(request, timeout=20) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def health_until(self, wanted: int) -> list[int | None]:
        """Ask for `/health` until it answers this; `None` stands for a closed port."""
        seen: list[int | None] = []
        while self.process.poll() is None:
            try:
                seen.append(self.ask("/health")[0])
            except OSError:
                seen.append(None)
            if seen[-1] == wanted:
                return seen
            time.sleep(0.001)
        raise AssertionError(self.log.read_text())

    def wait_for_line(self, text: str) -> None:
        while text not in self.log.read_text(errors="replace"):
            assert self.process.poll() is None
            time.sleep(0.001)


class Engines:
    """Starts engines, and ends those that are left."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack

    def start(self, *flags: str | Path) -> Engine:
        port = free_port()
        path = self._folder / f"{port}.log"
        with path.open("wb") as log:
            process = subprocess.Popen(
                command("--port", str(port), *flags), env=environment(), stdout=log, stderr=log
            )
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return Engine(process, port, path)

    def ready(self, *flags: str | Path) -> Engine:
        engine = self.start(*flags)
        engine.health_until(200)
        return engine


@pytest.fixture
def engines(tmp_path: Path) -> Iterator[Engines]:
    with ExitStack() as stack:
        yield Engines(tmp_path, stack)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny random.gguf"
    write_model(path)
    return path


@pytest.fixture(scope="module")
def large_model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Large enough that its load can be watched."""
    folder = tmp_path_factory.mktemp("large")
    write_model(folder / "large.gguf", layers=4, embd=2048)
    yield folder / "large.gguf"
    shutil.rmtree(folder)


def test_answers_503_while_loading_then_200(engines: Engines, large_model: Path) -> None:
    """A probe can tell loading from ready, and ready never turns back."""
    engine = engines.start("-m", large_model, "-c", "512", "--no-mmap")
    statuses = engine.health_until(200)
    assert set(statuses) <= {None, 503, 200}
    assert 503 in statuses
    assert engine.ask("/health")[0] == 200


def test_completes_a_chat_under_its_alias(engines: Engines, model: Path) -> None:
    """The main job: a chat completion, by the name given with --alias."""
    engine = engines.ready("-m", model, "--alias=tiny", "-c", "256", "-np", "2")
    status, answer = engine.ask("/v1/chat/completions", {"model": "tiny", **CHAT})
    assert status == 200
    assert answer["choices"][0]["message"]["content"]
    assert answer["usage"]["completion_tokens"] == 4
    assert [entry["id"] for entry in engine.ask("/v1/models")[1]["data"]] == ["tiny"]


def test_makes_embeddings(engines: Engines, model: Path) -> None:
    """--embeddings with --pooling serves /v1/embeddings, as wide as the model."""
    engine = engines.ready("-m", model, "--embeddings", "--pooling", "mean", "-c", "256")
    status, answer = engine.ask("/v1/embeddings", {"input": ["one", "two"]})
    assert status == 200
    assert [len(item["embedding"]) for item in answer["data"]] == [64, 64]


def test_asks_for_its_key(engines: Engines, model: Path) -> None:
    """--api-key keeps those without it out."""
    engine = engines.ready("-m", model, "-c", "256", "--api-key", "left,right")
    assert engine.ask("/v1/chat/completions", CHAT)[0] == 401
    assert engine.ask("/v1/chat/completions", CHAT, key="right")[0] == 200


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_at_once(engines: Engines, model: Path, signum: signal.Signals) -> None:
    """A signal ends it with code 0 although a client is connected and an answer under way."""
    engine = engines.ready("-m", model, "-c", "4096")
    engine.wait_for_line("modelswap engine: listening on")
    with socket.create_connection(("127.0.0.1", engine.port)) as client:
        body = json.dumps({"prompt": "a", "n_predict": 4000, "stream": True}).encode()
        head = f"POST /completion HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        client.sendall(head.encode() + body)
        assert client.recv(4096).startswith(b"HTTP/1.1 200")
        engine.process.send_signal(signum)
        assert engine.process.wait(10) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="aims at one thread by Linux's tgkill")
def test_ends_whichever_thread_the_signal_reaches(engines: Engines, model: Path) -> None:
    """The system may hand a signal to a thread of llama.cpp's; the process ends all the same."""
    engine = engines.ready("-m", model, "-c", "256")
    engine.wait_for_line("modelswap engine: listening on")
    pid = engine.process.pid
    tasks = (int(path.name) for path in Path(f"/proc/{pid}/task").iterdir())
    others = sorted(task for task in tasks if task != pid)
    assert ctypes.CDLL(None).tgkill(pid, others[-1], signal.SIGTERM) == 0
    assert engine.process.wait(10) == 0


def test_ends_at_once_while_loading(engines: Engines, large_model: Path) -> None:
    """The load holds the interpreter; a signal ends the process nevertheless."""
    engine = engines.start("-m", large_model, "-c", "512", "--no-mmap")
    engine.health_until(503)
    engine.process.terminate()
    assert engine.process.wait(10) in (-signal.SIGTERM, 0)


def test_refuses_an_unknown_flag_in_one_line() -> None:
    """A misspelt flag is named with the nearest one known."""
    assert refusal("--ctx-sise", "5", "-m", "x.gguf") == (
        "modelswap engine: unknown flag --ctx-sise (did you mean --ctx-size?)\n"
    )


def test_refuses_a_missing_model_in_one_line(tmp_path: Path) -> None:
    """A model that is not there is a line, not a page of llama.cpp's."""
    path = tmp_path / "none.gguf"
    assert refusal("-m", path) == (
        f"modelswap engine: cannot read the model '{path}': No such file or directory\n"
    )


def test_refuses_a_file_that_is_no_model(tmp_path: Path) -> None:
    """A file of another kind is called so."""
    path = tmp_path / "page.html"
    path.write_text("<html>")
    assert refusal("-m", path) == f"modelswap engine: '{path}' is not a GGUF model\n"


def test_refuses_a_truncated_model(tmp_path: Path, model: Path) -> None:
    """Half a model ends the process with code 1, the reason last."""
    path = tmp_path / "half.gguf"
    path.write_bytes(model.read_bytes()[:100_000])
    assert f"modelswap engine: cannot serve '{path}'" in refusal("-m", path)


def test_refuses_a_taken_port(model: Path) -> None:
    """A port that another process listens on ends it with code 1."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert "cannot serve" in refusal("-m", model, "--port", str(port))


def test_names_the_extra_where_the_wheel_is_missing(tmp_path: Path, model: Path) -> None:
    """Without the optional wheel, one line says what to install."""
    (tmp_path / "xllamacpp.py").write_text("raise ImportError")
    done = subprocess.run(
        command("-m", model),
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{SRC}"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "pip install xllamacpp" in done.stderr


def test_lists_its_flags() -> None:
    """--help goes to standard output and succeeds; --version names the wheel."""
    for flag, text in (("--help", "--ctx-size"), ("--version", "xllamacpp ")):
        out = subprocess.run(command(flag), env=environment(), capture_output=True, check=True)
        assert text in out.stdout.decode()


def test_imports_nothing_of_modelswap() -> None:
    """The start stays short: only the package itself and its own modules are loaded."""
    code = (
        "import sys, modelswap.engine.server;"
        "print(*sorted(m for m in sys.modules if m.startswith('modelswap')))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, check=True
    )
    own = {"modelswap", "modelswap.engine"}
    own |= {f"modelswap.engine.{name}" for name in ("flags", "params", "server", "table")}
    assert set(out.stdout.decode().split()) == own
