"""Runs the demonstration in a terminal: write the folder, start modelswap, send requests, serve.

Guarantees: the program is stopped however the demonstration ends. It has its own process group, so
Ctrl-C reaches it only once (a second one would cut its requests off).
"""

from __future__ import annotations

import json
import shlex
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from modelswap.units import Seconds

from . import requests, workspace

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path
    from types import FrameType

HOST: Final = "127.0.0.1"
_START_PORT: Final = 15800
"""First port of the model servers: not 5800, where a real installation has its own."""
_START_TIMEOUT: Final = Seconds(30.0)  # for the program to listen, also on a slow disk
_STOP_TIMEOUT: Final = Seconds(45.0)
"""For the program to drain and stop its models; then it is told to stop at once."""
_INTERRUPTED: Final = 130  # exit code of a shell for SIGINT


class FolderError(Exception):
    """Models, configuration or log cannot be written; the text says why."""


def run(*, folder: Path, port: int, once: bool) -> int:
    """Run the demonstration; return the exit code. `once`: end after the requests."""
    console = Console(highlight=False, soft_wrap=True)
    with _interruptible():
        try:
            return _show(console, folder, f"{HOST}:{port}", once=once)
        except requests.DemoError as error:
            console.print(f"[bold red]modelswap demo:[/] {escape(str(error))}")
            console.print(f"The log: {escape(str(folder / 'modelswap.log'))}")
            return 1
        except KeyboardInterrupt:
            return _INTERRUPTED if once else 0


def _show(console: Console, folder: Path, address: str, *, once: bool) -> int:
    console.print(f"Writing three tiny models with random weights to {escape(str(folder))}")
    config = _prepared(folder)
    with _program(folder, config, address) as process:
        requests.wait_until_up(address, lambda: process.poll() is None, timeout=_START_TIMEOUT)
        console.print(f"modelswap is up: [bold]http://{address}[/]\n")
        _show_requests(console, address)
        if once:
            return 0
        console.print(_hints(folder, address))
        process.wait()
        raise _ended(process)


def _prepared(folder: Path) -> Path:
    try:
        config = workspace.build(folder, start_port=_START_PORT)
        (folder / "modelswap.log").write_bytes(b"")
    except OSError as error:
        raise FolderError((error.strerror or str(error)).lower()) from error
    return config


def _show_requests(console: Console, address: str) -> None:
    """Send requests to every model; show each result as soon as it is there."""
    table = Table(title="One port, one model at a time", title_justify="left")
    for heading in ("model", "it answered"):
        table.add_column(heading)
    for heading in ("first request", "again", "swap"):
        table.add_column(heading, justify="right")
    for timed in requests.timed_requests(address):
        console.print(f"  {timed.model.id} answered after {_milliseconds(timed.cold)}")
        table.add_row(
            f"[bold]{timed.model.id}[/]",
            escape(timed.answer),
            _milliseconds(timed.cold),
            _milliseconds(timed.warm),
            f"[green]{_milliseconds(timed.swap)}[/]",
        )
    console.print()
    console.print(table)
    console.print("swap = first request - again: stop the old server, start the next one\n")


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


def _hints(folder: Path, address: str) -> str:
    base = f"http://{address}"
    asks = (f"  curl {base}{_arguments(model)}" for model in workspace.MODELS)
    lines = (
        "[bold]Try it[/]",
        *map(escape, asks),
        f"  curl {base}/v1/models       the models",
        f"  curl {base}/running         what runs now",
        f"  curl -N {base}/logs/stream  the log, live",
        f"  {base}/ui/                  the same in a browser",
        "",
        f"Configuration: {escape(str(folder / 'config.yaml'))}",
        f"Log:           {escape(str(folder / 'modelswap.log'))}",
        "Ctrl-C ends it.",
    )
    return "\n".join(lines)


def _arguments(model: workspace.DemoModel) -> str:
    path, body = requests.request_for(model)
    return f"{path} -d {shlex.quote(json.dumps(body))}"


@contextmanager
def _program(folder: Path, config: Path, address: str) -> Generator[subprocess.Popen[bytes]]:
    """Run `modelswap serve`; at the end of the block it and its models have ended."""
    command = (
        *(sys.executable, "-m", "modelswap", "serve"),
        *("--config", str(config)),
        *("--listen", address),
        *("--state-dir", str(folder / "state")),
    )
    with (folder / "modelswap.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - this program, arguments as a list
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0
        )
        try:
            yield process
        except requests.DemoError:
            if process.poll() is None:
                raise
            raise _ended(process) from None
        finally:
            _stop(process)


def _ended(process: subprocess.Popen[bytes]) -> requests.DemoError:
    return requests.DemoError(f"modelswap ended by itself (exit code {process.returncode})")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_TIMEOUT)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.terminate()  # the second signal cuts requests off
        process.wait()


@contextmanager
def _interruptible() -> Generator[None]:
    """Let SIGHUP and SIGTERM end the demonstration as Ctrl-C does."""
    before = {s: signal.signal(s, _interrupt) for s in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _interrupt(_signum: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def any_free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
