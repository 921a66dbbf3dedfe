"""Why a program cannot be started: real files, real errors of the kernel."""

from __future__ import annotations

import errno
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from modelswap.core.failure import Cause
from modelswap.launch.diagnosis.unstartable import explain

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from modelswap.core.failure import Failure


def tried(argv: list[str], where: Path, path: str | None = None) -> Failure:
    """Let the kernel refuse it, and explain what it said."""
    env = {"PATH": str(where) if path is None else path}
    try:
        subprocess.run(argv, cwd=where, env=env, check=False)
    except OSError as error:
        return explain(argv, env, str(where), error.errno, os.strerror(error.errno or 0))
    except ValueError:
        return explain(argv, env, str(where), 22, "Invalid argument")
    raise AssertionError("it was started")


def script(file: Path, text: bytes, mode: int = 0o755) -> str:
    file.write_bytes(text)
    file.chmod(mode)
    return str(file)


def no_permission(folder: Path) -> str:
    return script(folder / "server", b"#!/bin/sh\n", 0o644)


def a_folder(folder: Path) -> str:
    (folder / "server").mkdir()
    return str(folder / "server")


def a_dead_link(folder: Path) -> str:
    (folder / "server").symlink_to("/nowhere/at/all")
    return str(folder / "server")


def no_interpreter(folder: Path) -> str:
    return script(folder / "server", b"#!/nowhere/python -u\nprint()\n")


def windows_lines(folder: Path) -> str:
    return script(folder / "server", b"#!/bin/sh\r\necho hello\r\n")


def no_first_line(folder: Path) -> str:
    return script(folder / "server", b"echo hello\n")


def an_empty_file(folder: Path) -> str:
    return script(folder / "server", b"")


def another_machine(folder: Path) -> str:
    return script(folder / "server", b"\x7fELF" + b"\0" * 200)


@pytest.mark.parametrize(
    ("make", "cause", "said"),
    [
        (no_permission, Cause.PERMISSION_DENIED, "it is not executable (chmod +x)"),
        (a_folder, Cause.PERMISSION_DENIED, "it is a folder, not a program"),
        (a_dead_link, Cause.PROGRAM_NOT_FOUND, "it is a link to a file that does not exist"),
        (no_interpreter, Cause.PROGRAM_NOT_FOUND, "its interpreter /nowhere/python does not exist"),
        (windows_lines, Cause.CANNOT_START, "its lines end as on Windows; use plain line feeds"),
        (an_empty_file, Cause.CANNOT_START, "the file is empty"),
        (another_machine, Cause.CANNOT_START, "it is not built for this machine"),
        (
            no_first_line,
            Cause.CANNOT_START,
            "it does not begin with a line such as #!/bin/sh (exec format error)",
        ),
    ],
)
def test_a_file_that_is_there(
    make: Callable[[Path], str], cause: Cause, said: str, tmp_path: Path
) -> None:
    """The same error number gets the reason that the file shows; by its path and by the PATH."""
    file = make(tmp_path)
    for name, shown in ((file, file), ("server", f"server ({file})")):
        why = tried([name, "--secret"], tmp_path)
        assert (why.cause, why.text) == (cause, f"{shown}: {said}")
        assert why.is_lasting


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("llama-serverr", "llama-serverr: not found (no such program on the PATH)"),
        ("./llama-server", "./llama-server: no such file"),
        ("/nowhere/llama-server", "/nowhere/llama-server: no such file"),
        ("~/bin/x", "~/bin/x: no such file; ~ is not expanded: write the whole path"),
        (
            "HF_TOKEN=hf_secret",
            "HF_TOKEN=… is not a program; no shell reads the command: put variables into `env`",
        ),
        (
            "cd",
            "cd: not found (no such program on the PATH); it is a shell's own word: use sh -c '…'",
        ),
        ("", "the empty name: not found (no such program on the PATH)"),
        ("x" * 300, "x" * 300 + ": not found (no such program on the PATH)"),
    ],
)
def test_a_program_that_is_not_there(name: str, said: str, tmp_path: Path) -> None:
    """It is named, with what was probably meant; no part of an argument is."""
    why = explain([name, "--secret"], {"PATH": str(tmp_path)}, str(tmp_path), 2, "No such file")
    assert (why.cause, why.text) == (Cause.PROGRAM_NOT_FOUND, said)
    assert why.brief == "the program was not found"


def test_an_empty_name_is_no_argument_with_a_nul(tmp_path: Path) -> None:
    """The keeper gives the same number for both."""
    why = explain([""], {"PATH": str(tmp_path)}, str(tmp_path), errno.EINVAL, "Invalid argument")
    assert why.cause is Cause.PROGRAM_NOT_FOUND
    assert "the empty name: not found" in why.text


def test_the_working_directory(tmp_path: Path) -> None:
    """A folder that is gone is no fault of the program."""
    gone = tmp_path / "gone"
    why = explain(["sh"], {"PATH": "/bin"}, str(gone), 2, "No such file or directory")
    assert why.text == f"sh: the working directory {gone} does not exist"


def test_other_errors(tmp_path: Path) -> None:
    """What passes by itself is not lasting; what is too long, or holds a NUL, is."""
    where, env = str(tmp_path), {"PATH": "/bin:/usr/bin"}
    assert not explain(["sh"], env, where, 11, "").is_lasting
    assert not explain(["sh"], env, where, 12, "").is_lasting
    assert explain(["sh"], env, where, 7, "").text.endswith("environment are too long")
    assert "NUL" in tried(["sh", "a\0b"], tmp_path, "/bin").text
    assert explain(["sh"], env, where, None, "Some Error").text.endswith("sh): some Error")
