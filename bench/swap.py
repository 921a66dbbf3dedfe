"""Measure what a swap costs beyond what the engine itself needs.

Guarantees: the engine's own stop, start and response are measured in the same run, in turns with
the swaps, with a probe every millisecond and no connection left open. Both sides end with the
response to the same request, because computing it is the engine's work too. Each swap begins after
a pause, since the threads of the engine that responded last use a processor for some milliseconds more.
"""

from __future__ import annotations

import contextlib
import http.client
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.proc import available_mb
from bench.table import Figure
from support.server import Answer, Modelswap, engine_command, free_port, stub_command

if TYPE_CHECKING:
    from collections.abc import Iterator


LARGE_LAYERS, LARGE_EMBD = 24, 2048
"""Ten matrices a layer, two bytes a weight: 2.0 GB."""
LARGE_ON_DISK = 4 << 30
"""Bytes: the file, and room for what else a machine writes."""
LARGE_IN_MEMORY = 8 << 30
"""Bytes: the weights while they are made, then the file in the page cache and two engines."""

SETTLED = 0.05
"""Seconds after a response until llama.cpp's threads sleep: they look for more work until then."""


@dataclass(frozen=True, slots=True)
class Engine:
    """Two commands for one port each; `${PORT}` stands for it."""

    name: str
    commands: tuple[str, str]
    most_ms: float | None = None


def engines(directory: Path) -> Iterator[Engine]:
    """The stubs, and the real engine where the extra is installed."""
    for after, most in ((0.05, None), (0.5, 530.0)):
        flags = ("--ready-after", str(after))
        pair = (stub_command("a", *flags), stub_command("b", *flags))
        yield Engine(f"stub ready after {after * 1000:.0f} ms", pair, most)
    try:
        from modelswap.demo.weights import write_model  # noqa: PLC0415 - the extra may be absent
    except ImportError:
        print("the real engine is left out: pip install 'modelswap[engine]'", file=sys.stderr)
        return
    for number, name in enumerate("ab"):
        write_model(directory / f"{name}.gguf", seed=number, name=name)
    pair = (engine_command(directory / "a.gguf"), engine_command(directory / "b.gguf"))
    yield Engine("real engine, tiny model", pair)
    if (lacking := _room_lacking(directory)) is not None:
        print(f"the 2 GB model is left out: {lacking}", file=sys.stderr)
        return
    large = directory / "large.gguf"
    write_model(large, layers=LARGE_LAYERS, embd=LARGE_EMBD, name="large")
    command = engine_command(large, "--ctx-size", "512")
    yield Engine("real engine, 2 GB model", (command, command))


def _room_lacking(directory: Path) -> str | None:
    """What the 2 GB model lacks on this machine, if anything."""
    free = shutil.disk_usage(directory).free
    if free < LARGE_ON_DISK:
        return f"{directory} has {free >> 20} MB free of {LARGE_ON_DISK >> 20}"
    memory = available_mb()
    if memory < LARGE_IN_MEMORY >> 20:
        return f"{memory:.0f} MB of memory are free of {LARGE_IN_MEMORY >> 20}"
    return None


def config(commands: tuple[str, ...], names: str = "abcdefgh") -> str:
    rows = (f"  {name}:\n    cmd: {cmd}\n" for name, cmd in zip(names, commands, strict=False))
    return "models:\n" + "".join(rows)


def is_healthy(port: int) -> bool:
    """Send one request to `/health`, on a connection of its own."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
            sock.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return sock.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def start_till_healthy(server: Modelswap) -> None:
    """Start the program; return at its first 200 on `/health`."""
    process = server.spawn()
    while not is_healthy(server.port):
        if process.poll() is not None:
            raise RuntimeError(f"did not start:\n{server.log()}")
        time.sleep(0.002)  # seconds: the resolution of the figures


def launch(command: str, port: int) -> subprocess.Popen[bytes]:
    """Start an engine by hand and wait until it is ready."""
    line = shlex.split(command.replace("${PORT}", str(port)))
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with contextlib.ExitStack() as unless_ready:  # the caller does not have the process yet
        unless_ready.callback(process.wait)
        unless_ready.callback(process.kill)
        while not is_healthy(port):
            if process.poll() is not None:
                raise RuntimeError(f"the engine ended with {process.returncode}: {line}")
            time.sleep(0.001)
        unless_ready.pop_all()
    return process


def chat(connection: http.client.HTTPConnection, model: str) -> None:
    """Ask for one token and read the response."""
    body = f'{{"model":"{model}","max_tokens":1,"messages":[{{"role":"user","content":"hi"}}]}}'
    headers = {"Content-Type": "application/json"}
    connection.request("POST", "/v1/chat/completions", body, headers)
    reply = connection.getresponse()
    reply.read()
    if reply.status != 200:
        raise RuntimeError(f"{model} answered {reply.status}")


class DirectEngines:
    """The engines without a proxy: one runs, then the other."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.port = free_port()
        self.running = 0
        self.process = launch(engine.commands[0], self.port)

    def swap(self) -> float:
        """Stop one, start the other, ask it; milliseconds until its response."""
        self.running = 1 - self.running
        self.port = free_port()
        began = time.perf_counter()
        self.process.terminate()
        self.process.wait()
        self.process = launch(self.engine.commands[self.running], self.port)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        chat(connection, "ab"[self.running])
        took = (time.perf_counter() - began) * 1000
        connection.close()
        return took

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


class ProxiedEngines:
    """The same two engines behind modelswap, on one kept connection."""

    def __init__(self, server: Modelswap) -> None:
        self.running = 0
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        self.swap()

    def swap(self) -> float:
        """Ask for the model that is not running; milliseconds until its response."""
        self.running = 1 - self.running
        began = time.perf_counter()
        chat(self.connection, "ab"[self.running])
        return (time.perf_counter() - began) * 1000

    def close(self) -> None:
        self.connection.close()


@contextlib.contextmanager
def serving(text: str, directory: Path, **how: Any) -> Iterator[Modelswap]:
    server = Modelswap(directory, text, **how)
    try:
        yield server.start()
    finally:
        server.finish()


def swap(rounds: int, *, quick: bool) -> list[Figure]:
    """Swaps between two stubs and between two real engines."""
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as name:
        for number, engine in enumerate(engines(Path(name))):
            times = Figure(f"swap, {engine.name}", "ms", above=5, is_only_raised=True)
            whole = Figure(f"swap, {engine.name}: in all", "ms", most=engine.most_ms)
            direct = DirectEngines(engine)
            try:
                with serving(config(engine.commands), Path(name) / str(number)) as server:
                    proxied = ProxiedEngines(server)
                    for _ in range(max(2, rounds * (1 if quick else 3))):
                        for side, one in (("direct", direct), ("modelswap", proxied)):
                            time.sleep(SETTLED)
                            times.add(side, one.swap())
            finally:
                direct.stop()
            figures.append(times)
            if engine.most_ms is not None:
                whole.samples["modelswap"] = times.samples["modelswap"]
                figures.append(whole)
    return figures


def cold(rounds: int, *, quick: bool) -> list[Figure]:
    """A hundred requests at once for a model that is not running."""
    del rounds, quick  # a count, not a time: once is enough
    answers = Figure("100 requests for a cold model: answers", "", exactly=100)
    starts = Figure("100 requests for a cold model: starts", "", exactly=1)
    with tempfile.TemporaryDirectory() as name:
        journal = Path(name) / "starts"
        command = stub_command("a", "--ready-after", "0.3", "--journal", str(journal))
        with serving(config((command,)), Path(name) / "m") as server:
            gate = threading.Barrier(100)

            def ask(_number: int) -> Answer:
                gate.wait()
                return server.chat("a", seconds=60)

            with ThreadPoolExecutor(100) as pool:
                found = Counter(answer.status for answer in pool.map(ask, range(100)))
        answers.add("modelswap", found[200])
        starts.add("modelswap", len(journal.read_text().splitlines()))
    return [answers, starts]
