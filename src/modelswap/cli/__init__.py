"""The command line: one file a command, each imported only when it runs.

Without a command `serve` runs, so that `modelswap -config FILE` does what `llama-swap -config FILE`
does. llama-swap's spellings with a single dash are translated before parsing.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Never, TypeVar

import click

from modelswap import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from click.core import ParameterSource

_Function = TypeVar("_Function", bound="Callable[..., Any]")

COMMANDS: Final = {
    "serve": "Serve every model of a configuration on one port.",
    "check": "Check a configuration, or show what it amounts to.",
    "reload": "Have the running server load its configuration again, or hand over to a new one.",
    "schema": "Print the JSON Schema of the configuration, for editors.",
    "demo": "Try it now: real engine, three tiny models, no downloads.",
}

SINGLE_DASH: Final = frozenset(
    {
        "config",
        "config-dir",
        "models-dir",
        "models-preset",
        "listen",
        "watch-config",
        "tls-cert-file",
        "tls-key-file",
        "version",
    }
)


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
    """Add the options that name models on disk."""
    for name, metavar, text in (
        ("--models-preset", "FILE", "Presets (INI) of llama.cpp's router; may be repeated."),
        ("--models-dir", "DIR", "Serve every model found in this folder; may be repeated."),
    ):
        command = click.option(
            name, multiple=True, metavar=metavar, help=text, callback=_paths, type=click.Path()
        )(command)
    return command


def _paths(_: object, __: object, values: tuple[str, ...]) -> tuple[Path, ...]:
    """Return the paths without the empty ones, as of unset variables."""
    return tuple(Path(value).expanduser() for value in values if value)


def refuse_argument(argument: str) -> Never:
    """Exit with 2: the command would ignore the argument."""
    click.echo(f"modelswap: unexpected argument: {argument}", err=True)
    sys.exit(2)


def fail(*lines: str) -> Never:
    """Print why the command failed, and exit with 1."""
    click.echo("\n".join(lines), err=True)
    sys.exit(1)


class _Commands(click.Group):
    """Imports only the command that runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        _ = ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            ctx.fail(f"no command {cmd_name!r}; there are {', '.join(COMMANDS)}")
        command = import_module(f"modelswap.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _ = ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


_SWITCHES: Final = frozenset(
    {"--watch-config", "--version", "--strict", "--quiet", "--keep", "--once", "--binary"}
)
_YES: Final = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_NO: Final = frozenset({"0", "f", "F", "false", "FALSE", "False"})


def _undash(argument: str) -> str:
    """Translate llama-swap's `-config` and `-config=x` into `--config…`."""
    if argument.startswith("-") and not argument.startswith("--"):
        name = argument[1:].partition("=")[0]
        if name in SINGLE_DASH:
            return "-" + argument
    return argument


def _switch(argument: str) -> list[str]:
    """Translate `--watch-config=true`, as Go allows it, into the switch or nothing."""
    name, equals, value = argument.partition("=")
    if not equals or name not in _SWITCHES or value not in _YES | _NO | {""}:
        return [argument]
    return [name] if value in _YES else []


def normalise(arguments: list[str]) -> list[str]:
    """Return the arguments in this program's spelling, with `serve` where no command is given."""
    plain = [one for argument in arguments for one in _switch(_undash(argument))]
    if "--version" in plain:
        return ["--version"]
    while plain and not plain[0]:
        del plain[0]
    first = plain[0] if plain else "".join(arguments)
    is_option = first.startswith("-") and first not in {"-h", "--help"}
    is_file = first.endswith((".yaml", ".yml")) or (first not in COMMANDS and Path(first).is_file())
    return ["serve", *plain] if is_option or (plain and is_file) else plain


@click.group(cls=_Commands, context_settings=HELP, epilog="Start here: modelswap demo")
@click.version_option(__version__, message="version: %(version)s")
def cli() -> None:
    """One port in front of every local model.

    modelswap starts, stops and swaps inference servers (llama.cpp, vLLM, SGLang,
    whisper.cpp, anything that speaks HTTP) by the `model` field of each request.
    It reads llama-swap's configuration and answers its HTTP API.
    """


def main() -> None:
    given = sys.argv[1:]
    meant = normalise(given)
    is_unnamed = meant[:1] == ["serve"] != given[:1] and "".join(meant[1:2])[:1] in {"-", ""}
    sys.exit(cli.main(meant, prog_name="modelswap", standalone_mode=True, obj=is_unnamed))
