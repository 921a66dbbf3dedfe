"""Explains why a program cannot be started: the system's error, with what the files say about it.

The keeper reports an error number alone: the same `ENOENT` means a missing program, interpreter, loader
or working directory.

Guarantees: a sentence that names the program and nothing else of the command; reads at most one line
of the program's file, after a start failed.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelswap.core.failure import Cause, Failure, failure

from .diagnosis import presentable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_MAX_FIRST_LINE: Final = 256
"""Bytes: the kernel reads no more of a script's first line."""
_SHELL_WORDS: Final = frozenset(
    {"cd", "export", "source", ".", "exec", "ulimit", "set", "eval", "if", "for", "while", "alias"}
)
_TRANSIENT: Final = {
    errno.EAGAIN: "no more processes are allowed",
    errno.ENOMEM: "no memory is left for another process",
    errno.EMFILE: "too many files are open",
    errno.ENFILE: "too many files are open on this machine",
    errno.ETXTBSY: "the file is being written",
}
"""These pass by themselves."""


def explain(
    argv: Sequence[str], env: Mapping[str, str], cwd: str, code: int | None, system_text: str
) -> Failure:
    """Say why `argv` could not be started; `code` is the error's number, `system_text` its text."""
    cause, why = _explain(argv[0], env, cwd, code, system_text)
    is_lasting = code not in _TRANSIENT and cause is not Cause.OUT_OF_MEMORY
    return failure(cause, why, is_lasting=is_lasting)


def _explain(
    name: str, env: Mapping[str, str], cwd: str, code: int | None, system_text: str
) -> tuple[Cause, str]:
    program = presentable(name) or "the empty name"
    if code in _TRANSIENT:
        cause = Cause.OUT_OF_MEMORY if code == errno.ENOMEM else Cause.CANNOT_START
        return cause, f"{program}: {_TRANSIENT[code]}"
    if code == errno.E2BIG:
        return Cause.CANNOT_START, f"{program}: the command and its environment are too long"
    if code == errno.EINVAL and name:
        return Cause.CANNOT_START, f"{program}: a NUL character in an argument or a variable"
    if not Path(cwd).is_dir():
        return Cause.FILE_NOT_FOUND, f"{program}: the working directory {cwd} does not exist"
    if not os.access(cwd, os.X_OK):
        return Cause.PERMISSION_DENIED, f"{program}: the working directory {cwd} cannot be entered"
    file = _find_file(name, env, cwd)
    if file is None:
        variable, equals, _ = name.partition("=")
        if equals and variable.isidentifier():  # its value may be a secret
            hint = "no shell reads the command: put variables into `env`"
            return Cause.PROGRAM_NOT_FOUND, f"{variable}=… is not a program; {hint}"
        where = "no such file" if "/" in name else "not found (no such program on the PATH)"
        return Cause.PROGRAM_NOT_FOUND, f"{program}: {where}{_hint(name)}"
    if "/" not in name:
        program = f"{program} ({file})"
    return _explain_file(file, program, code, system_text)


def _find_file(name: str, env: Mapping[str, str], cwd: str) -> Path | None:
    """Find the file that was tried; one that may be executed before one that may not."""
    if not name:
        return None
    folders = [""] if "/" in name else env.get("PATH", os.defpath).split(os.pathsep)
    candidates = [Path(cwd) / folder / name for folder in folders]
    with suppress(OSError, ValueError):  # a name that is too long, or that holds a NUL
        there = [file for file in candidates if os.path.lexists(file)]
        runnable = [file for file in there if file.is_file() and os.access(file, os.X_OK)]
        return next(iter([*runnable, *there]), None)
    return None


def _hint(name: str) -> str:
    """Say what was probably meant: no shell reads a command."""
    if name.startswith("~"):
        return "; ~ is not expanded: write the whole path"
    if name in _SHELL_WORDS:
        return "; it is a shell's own word: use sh -c '…'"
    if "$" in name:
        return "; no shell reads the command, so $… is not expanded: use ${env.NAME}"
    if any(c.isspace() for c in name):
        return "; the quotes make one word of it"
    return ""


def _explain_file(
    file: Path, program: str, code: int | None, system_text: str
) -> tuple[Cause, str]:
    try:
        mode = file.stat().st_mode
    except FileNotFoundError:
        return Cause.PROGRAM_NOT_FOUND, f"{program}: it is a link to a file that does not exist"
    except OSError as error:
        return Cause.PERMISSION_DENIED, f"{program}: {error.strerror}"
    if stat.S_ISDIR(mode):
        return Cause.PERMISSION_DENIED, f"{program}: it is a folder, not a program"
    if not stat.S_ISREG(mode):
        return Cause.PERMISSION_DENIED, f"{program}: it is not a file"
    if not os.access(file, os.X_OK):
        return Cause.PERMISSION_DENIED, f"{program}: it is not executable (chmod +x)"
    return _explain_content(_first_line(file), program, code, system_text)


def _explain_content(
    first: bytes, program: str, code: int | None, system_text: str
) -> tuple[Cause, str]:
    """Explain by the file's first bytes why the kernel did not run it."""
    interpreter = _interpreter(first)
    if interpreter is not None and code in {errno.ENOENT, errno.EACCES, errno.ENOTDIR}:
        if interpreter.endswith("\r"):
            why = "its lines end as on Windows; use plain line feeds"
            return Cause.CANNOT_START, f"{program}: {why}"
        missing = code == errno.ENOENT or not Path(interpreter).exists()
        what = "does not exist" if missing else "may not be executed"
        cause = Cause.PROGRAM_NOT_FOUND if missing else Cause.PERMISSION_DENIED
        return cause, f"{program}: its interpreter {interpreter} {what}"
    if code == errno.ENOENT:
        why = "its loader does not exist here (built for another system?)"
        return Cause.MISSING_LIBRARY, f"{program}: {why}"
    if code == errno.ENOEXEC:
        why = "it does not begin with a line such as #!/bin/sh (exec format error)"
        if not first:
            why = "the file is empty"
        elif b"\0" in first:
            why = "it is not built for this machine"
        return Cause.CANNOT_START, f"{program}: {why}"
    cause = Cause.PERMISSION_DENIED if code in {errno.EACCES, errno.EPERM} else Cause.CANNOT_START
    return cause, f"{program}: {system_text[:1].lower()}{system_text[1:]}"


def _first_line(file: Path) -> bytes:
    with suppress(OSError), file.open("rb") as opened:
        return opened.read(_MAX_FIRST_LINE)
    return b""


def _interpreter(first: bytes) -> str | None:
    if not first.startswith(b"#!"):
        return None
    line = first[2:].partition(b"\n")[0]
    words = line.strip(b" \t").split(None, 1) if not line.endswith(b"\r") else [line.strip(b" \t")]
    return words[0].decode("utf-8", "replace") if words else ""
