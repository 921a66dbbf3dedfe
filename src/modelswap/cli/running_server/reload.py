"""`modelswap reload`."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Final, Never

import click

from modelswap.cli.commands import HELP
from modelswap.cli.terminal import fail, refuse_argument
from modelswap.units import Seconds

from .finding import front_options, running_front

if TYPE_CHECKING:
    from pathlib import Path

    from modelswap.launch.local.fronts import RunningFront

_PAUSE: Final = Seconds(0.05)
"""Between two reads of the server's note: a user does not notice the delay."""
_RELOAD_TIMEOUT: Final = Seconds(60.0)
"""For a reload, which waits for one under way and reads files on a thread."""
_HANDOVER_TIMEOUT: Final = Seconds(120.0)
"""For the new program to start and take over; a little more than the server waits."""


@click.command(context_settings=HELP)
@click.option("--binary", is_flag=True, help="Replace the program too, as after an upgrade.")
@front_options
@click.argument("extra", nargs=-1, metavar="")
def command(
    *,
    binary: bool,
    listen: str | None,
    config: Path | None,
    state_dir: Path | None,
    extra: tuple[str, ...],
) -> None:
    """Have the running server load its configuration again.

    Waits for the result: exit code 0 when the new configuration is in use, 1 with
    every problem when the old one stays. Models that did not change run on.

    With --binary a new program is started with the same command line and takes
    over address, models and waiting requests; the old one finishes what it has
    and ends. No request is lost. When the new one cannot start, the old one goes
    on, and this says why.

    \b
    Without options: the one server that runs. Examples:
      modelswap reload
      modelswap reload --listen 127.0.0.1:9000
      pip install --upgrade modelswap && modelswap reload --binary
    """  # noqa: D301 - click's \b
    for one in extra:
        refuse_argument(one)
    if sys.platform == "win32":
        _end("this system has no signals; use POST /api/config/reload")
    before = running_front("reload", listen, config, state_dir)
    _refuse_elsewhere(before)
    number = signal.SIGUSR2 if binary else signal.SIGHUP
    try:
        os.kill(before.pid, number)
    except ProcessLookupError:
        _end(f"the server (pid {before.pid}) has just ended")
    except PermissionError:
        _end(f"the server (pid {before.pid}) belongs to another user")
    after = _answer(before, "handover" if binary else "reload")
    for line in after.lines:
        click.echo(line, err=not after.ok)
    if not after.ok:
        what = "the old program goes on" if binary else "the running configuration stays"
        _end(f"not reloaded; {what}")
    if binary:
        click.echo(f"pid {after.pid} has taken over from pid {before.pid} on {after.listen}")
    else:
        click.echo(f"configuration reloaded by pid {after.pid} on {after.listen}")


def _refuse_elsewhere(front: RunningFront) -> None:
    """Refuse a server of another container: its pid means another process here."""
    from modelswap.procfs import pid_namespace  # noqa: PLC0415 - as above

    ours = pid_namespace()
    if ours and front.namespace and front.namespace != ours:
        _end(
            f"the server on {front.listen} runs in another container, or in one; "
            "reload it from there (docker exec CONTAINER modelswap reload)"
        )


def _answer(before: RunningFront, kind: str) -> RunningFront:
    """Wait until the server, or the one that took over from it, notes the result."""
    from modelswap.launch.local.fronts import last_status  # noqa: PLC0415 - as above

    within = _HANDOVER_TIMEOUT if kind == "handover" else _RELOAD_TIMEOUT
    deadline = time.monotonic() + within
    was_alive = True
    while time.monotonic() < deadline:
        now = last_status(before.directory)
        if now is not None and now.number > before.number and now.kind == kind:
            return now
        if not was_alive:
            _end("the server has ended; its log says why")
        was_alive = _is_alive(before.pid)  # its last note may come before the next read
        time.sleep(_PAUSE)
    return _end(f"the server (pid {before.pid}) did not answer within {within:g} s; see its log")


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _end(message: str) -> Never:
    fail(f"modelswap reload: {message}")
