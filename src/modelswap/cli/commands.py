"""The commands as click knows them: options, help, and what is said of wrong arguments."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from modelswap import __version__

from .serve_arguments import paths
from .terminal import COMMANDS, TO_A_SERVER

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from click.core import ParameterSource

_Function = TypeVar("_Function", bound="Callable[..., Any]")

HELP: Final = {"help_option_names": ["-h", "--help"]}


class Option(click.Option):
    """An option with a value; an empty one, as of an unset variable, counts as not given."""

    def consume_value(
        self, ctx: click.Context, opts: Mapping[str, Any]
    ) -> tuple[Any, ParameterSource]:
        given = {name: value for name, value in opts.items() if name != self.name or value != ""}
        return super().consume_value(ctx, given)


def path_option(name: str, metavar: str, text: str) -> Callable[[_Function], _Function]:
    kind = click.Path(path_type=Path)
    return click.option(name, type=kind, metavar=metavar, help=text, cls=Option)


def models_options(command: _Function) -> _Function:
    """Add the options that name models on disk. What cannot be read there is said with the others' lines."""
    for name, metavar, text in (
        ("--models-preset", "FILE", "Presets (INI) of llama.cpp's router; may be repeated."),
        ("--models-dir", "DIR", "Serve every model found in this folder; may be repeated."),
    ):
        command = click.option(
            name,
            multiple=True,
            metavar=metavar,
            help=text,
            callback=_paths,
            type=click.Path(readable=False),
        )(command)
    return command


def _paths(_: object, __: object, values: tuple[str, ...]) -> tuple[Path, ...]:
    return paths(values)


class _Commands(click.Group):
    """Imports only the command that runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        _ = ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            from modelswap.config.messages.hints import nearest  # noqa: PLC0415 - after a mistake

            near = nearest(cmd_name, COMMANDS) or f"there are {', '.join(COMMANDS)}"
            ctx.fail(f"no command {cmd_name!r}; {near}")
        folder = "modelswap.cli.running_server" if cmd_name in TO_A_SERVER else "modelswap.cli"
        command = import_module(f"{folder}.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _ = ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Commands, context_settings=HELP, epilog="Start here: modelswap demo")
@click.version_option(__version__, message="version: %(version)s")
def cli() -> None:
    """One port in front of every local model.

    modelswap starts, stops and swaps inference servers (llama.cpp, vLLM, SGLang,
    whisper.cpp, anything that speaks HTTP) by the `model` field of each request.
    It reads llama-swap's configuration and answers its HTTP API.
    """
