"""Starts one process by fork and exec.

A server leads its own process group (so that a signal reaches what it started) but stays in the keeper's
session: a new one would hide the servers from a tool that stops the session.

On Linux the server is killed when the keeper exits, however it exits. That signal is tied to the
*thread* that forked; the keeper has only one.
"""

from __future__ import annotations

import os

from modelswap.c_library import c_function

from .lean import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import NoReturn

_PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that a process gets when its parent exits."""
_PR_SET_CHILD_SUBREAPER = 36
"""prctl(2): orphans among the descendants become this process's children."""
_prctl = c_function("prctl")


def become_reaper_of_orphans() -> None:
    if _prctl is not None:
        _prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def spawn(argv: list[str], env: Mapping[str, str], cwd: str, output: int) -> int:
    """Start a process in its own group, output into `output`; return its pid, or raise `OSError`."""
    keeper = os.getpid()
    return _start(lambda: _become_server(argv, env, cwd, output, keeper))


def spawn_guard(argv: list[str], alarm: int) -> int:
    """Start a process that outlives us, in a session of its own, with `alarm` as its input."""
    return _start(lambda: _become_guard(argv, alarm))


def _start(become: Callable[[], None]) -> int:
    """Fork, and have the child become another program; return its pid when exec has succeeded."""
    report, failed = os.pipe()
    try:
        pid = os.fork()
    except OSError:  # no more processes allowed
        os.close(report)
        os.close(failed)
        raise
    if pid == 0:
        _run_in_child(failed, become)
    os.close(failed)
    try:
        problem = os.read(report, 64)  # ends when exec closes the other side
    finally:
        os.close(report)
    if problem:
        os.waitpid(pid, 0)
        code = int(problem)
        raise OSError(code, os.strerror(code))
    return pid


def _run_in_child(failed: int, become: Callable[[], None]) -> NoReturn:
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        become()
    except OSError as error:
        code = error.errno or 1
    except ValueError:
        code = 22  # EINVAL: a null character in an argument or a variable
    finally:
        os.write(failed, str(code).encode())
        os._exit(127)


def _become_server(
    argv: list[str], env: Mapping[str, str], cwd: str, output: int, keeper: int
) -> None:
    os.setpgid(0, 0)
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != keeper:  # it exited before the line above
            os._exit(1)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(cwd)
    os.execvpe(argv[0], argv, env)  # noqa: S606 - no shell is the point


def _become_guard(argv: list[str], alarm: int) -> None:
    os.setsid()
    os.dup2(alarm, 0)
    os.execv(argv[0], argv)  # noqa: S606 - no shell but the one asked for
