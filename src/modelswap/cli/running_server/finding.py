"""Finds the running server that a command is for, by its address, configuration or state directory."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeVar

import click

from modelswap.cli.commands import Option, path_option
from modelswap.cli.terminal import fail

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from modelswap.launch.local.fronts import RunningFront

_Function = TypeVar("_Function", bound="Callable[..., Any]")


def front_options(command: _Function) -> _Function:
    """Add the options that say which server is meant; without them it is the one that runs."""
    for add in (
        path_option(
            "--state-dir",
            "DIR",
            "The server with this state directory; needed when it was started with one.",
        ),
        path_option("--config", "FILE", "The server that has this configuration."),
        click.option(
            "--listen", metavar="HOST:PORT", help="The server that listens there.", cls=Option
        ),
    ):
        command = add(command)
    return command


def running_front(
    name: str, listen: str | None, config: Path | None, state_dir: Path | None
) -> RunningFront:
    """Return the one running server that is meant; else exit and say why, as the command *name*."""
    from modelswap.launch.local.fronts import front_in, fronts  # noqa: PLC0415 - --help must be quick

    running = fronts() if state_dir is None else (front_in(state_dir.absolute()),)
    found = [front for front in running if front is not None]
    if listen is not None:
        address = _address(listen)
        found = [front for front in found if front.listen == address]
    if config is not None:
        resolved = str(config.resolve())
        found = [front for front in found if resolved in front.config.split(os.pathsep)]
    if len(found) == 1:
        return found[0]
    if found:
        several = ", ".join(sorted(front.listen for front in found))
        fail(f"modelswap {name}: several servers run; say which with --listen: {several}")
    where = f"with the state directory {state_dir}" if state_dir is not None else "of this user"
    return fail(
        f"modelswap {name}: no running server {where} was found"
        + ("" if listen is None else f" on {listen}")
        + ("" if config is None else f" with {config}")
        + ("" if state_dir is not None else "; was it started with --state-dir?")
        + ("" if name == "reload" else "; of another machine or user: --url")
    )


def _address(listen: str) -> str:
    from modelswap.app.options import StartError, parse_listen  # noqa: PLC0415 - as above

    try:
        return str(parse_listen(listen, tls=False))
    except StartError as error:
        fail(*error.lines)
