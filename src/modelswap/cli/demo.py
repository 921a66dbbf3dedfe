"""`modelswap demo`."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Never

import click

from .commands import HELP, Option
from .terminal import fail

_PORT: Final = 8080  # the port of `serve`, so that the examples in the documents work


@click.command(context_settings=HELP)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help="Where to listen, on 127.0.0.1.  [default: 8080, or any free port]",
    cls=Option,
)
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the models and the configuration are written, and kept.  [default: a temporary one]",
    cls=Option,
)
@click.option("--keep", is_flag=True, help="Keep the temporary folder.")
@click.option("--once", is_flag=True, help="End after the requests instead of serving on.")
def command(*, port: int | None, folder: Path | None, keep: bool, once: bool) -> None:
    """Try it now: real engine, three tiny models, no downloads.

    Writes three models with random weights, starts modelswap in front of them,
    asks each of them something and shows what every swap took; then goes on
    serving until Ctrl-C, so that you can try it yourself.
    """
    if not _has_engine():
        _end(
            "the engine is not installed here: pip install xllamacpp gguf numpy (modelswap's extra `engine`)"
        )
    from modelswap.demo import terminal  # noqa: PLC0415 - numpy, and only when installed

    if port is not None and not terminal.is_free(port):
        _end(f"port {port} is taken; leave --port out for any free one")
    if port is None:
        port = _PORT if terminal.is_free(_PORT) else terminal.any_free_port()
    with ExitStack() as stack:
        if folder is None:
            folder = _temporary_folder()
            if not keep:
                stack.callback(shutil.rmtree, folder, ignore_errors=True)
        try:
            code = terminal.run(folder=folder.absolute(), port=port, once=once)
        except terminal.FolderError as error:
            _end(f"{folder} cannot be written: {error}; name another folder with --dir")
    sys.exit(code)


def _temporary_folder() -> Path:
    """Make a private folder in the first place that is writable."""
    usual = [None, os.environ.get("XDG_RUNTIME_DIR"), "/dev/shm", str(Path("~").expanduser())]  # noqa: S108 - mkdtemp's are private
    for place in usual:
        with suppress(OSError):
            return Path(tempfile.mkdtemp(prefix="modelswap-demo-", dir=place or None))
    return _end("no temporary folder can be written; name a folder with --dir")


def _has_engine() -> bool:
    """Say whether models can be written and run."""
    if find_spec("gguf") is None or find_spec("numpy") is None:
        return False
    return shutil.which("llama-server") is not None or find_spec("xllamacpp") is not None


def _end(message: str) -> Never:
    fail(f"modelswap demo: {message}")
