"""The engine's process: it reads the command line, serves, and exits promptly.

Guarantees: a signal ends the process at any time. While the model loads, the wheel holds the
interpreter lock and no Python handler could run, so the system's default action ends the process.
Afterwards it exits at once with code 0; the kernel frees the model.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Any

from .flags import UsageError, parse
from .params import build
from .table import TABLE, usage

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

_FAILED = 1  # exit code
_ENDING = (signal.SIGTERM, signal.SIGINT)
_MISSING = (
    "llama.cpp is not installed here: pip install xllamacpp gguf numpy (modelswap's extra `engine`)"
)


def main(arguments: Sequence[str]) -> int:
    """Serve until a signal ends the process; return the exit code when serving cannot begin."""
    if not {"-h", "--help"}.isdisjoint(arguments):
        sys.stdout.write(usage())
        return 0
    try:
        if "--version" in arguments:
            sys.stdout.write(_version(_wheel()))
            return 0
        settings = parse(arguments, TABLE)
        path = next((str(s.value) for s in reversed(settings) if s.target == "model.path"), None)
        _check_model(path)
        wheel = _wheel()
        return _serve(wheel, build(wheel, settings))
    except UsageError as error:
        return _refuse(str(error))


def _check_model(path: str | None) -> None:
    """Check the file: llama.cpp reports a wrong one in ten lines."""
    if path is None:
        raise UsageError("--model is missing: which GGUF file should be served?")
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - pathlib's import slows every start
            is_model = file.read(4) == b"GGUF"
    except OSError as error:
        raise UsageError(f"cannot read the model '{path}': {error.strerror}") from None
    if not is_model:
        raise UsageError(f"'{path}' is not a GGUF model")


def _wheel() -> ModuleType:
    try:
        import xllamacpp  # noqa: PLC0415 - optional, and slow beside a usage error
    except ImportError:
        raise UsageError(_MISSING) from None
    wheel: ModuleType = xllamacpp
    return wheel


def _version(wheel: ModuleType) -> str:
    build_info: dict[str, Any] = wheel.BUILD_INFO
    return f"xllamacpp {wheel.__version__} ({build_info['build_target']})\n"


def _serve(wheel: ModuleType, params: Any) -> int:
    for signum in _ENDING:
        signal.signal(signum, signal.SIG_DFL)
    try:
        server = wheel.Server(params)
    except RuntimeError as error:
        return _refuse(f"cannot serve '{params.model.path}': {error}")
    ending = _pipe_of_signals()
    sys.stdout.write(f"modelswap engine: listening on {server.listening_address}\n")
    sys.stdout.flush()
    os.read(ending, 1)
    os._exit(0)  # at once: the destructor would wait for requests in flight


def _pipe_of_signals() -> int:
    """Return a descriptor that becomes readable at a signal that ends the process.

    Unlike `signal.pause` it also wakes the main thread when one of the wheel's threads got the signal.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for signum in _ENDING:
        signal.signal(signum, lambda _signum, _frame: None)
    return reader


def _refuse(message: str) -> int:
    sys.stderr.write(f"modelswap engine: {message}\n")
    return _FAILED
