"""The command line: one file per command, each imported only when it runs.

`modelswap serve` is the main job, and what runs when no command is named, so
that `modelswap -config FILE` does what `llama-swap -config FILE` does. The
single-dash spellings of llama-swap are turned into ours before parsing.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Never

import click

from modelswap import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    from click.core import ParameterSource

COMMANDS: Final = {
    "serve": "Serve every model of a configuration on one port.",
    "check": "Check a configuration, or show what it amounts to.",
    "reload": "Have the running server load its configuration again, or hand over to a new one.",
    "schema": "Print the JSON Schema of the configuration, for editors.",
    "demo": "Try it now: real engine, three tiny models, no downloads.",
}

SINGLE_DASH: Final = frozenset(
    {"config", "config-dir", "listen", "watch-config", "tls-cert-file", "tls-key-file", "version"}
)


class Option(click.Option):
    """An option with a value. An empty value, as of an unset variable, is an option not given."""

    def consume_value(
        self, ctx: click.Context, opts: Mapping[str, Any]
    ) -> tuple[Any, ParameterSource]:
        given = {name: value for name, value in opts.items() if name != self.name or value != ""}
        return super().consume_value(ctx, given)


def refuse_argument(argument: str) -> Never:
    """End with exit code 2: what was typed is not what would be done."""
    click.echo(f"modelswap: unexpected argument: {argument}", err=True)
    sys.exit(2)


class _Commands(click.Group):
    """Looks commands up by name and imports only the one that runs."""

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
    """Turn llama-swap's `-config` and `-config=x` into `--config…`."""
    if argument.startswith("-") and not argument.startswith("--"):
        name = argument[1:].partition("=")[0]
        if name in SINGLE_DASH:
            return "-" + argument
    return argument


def _switch(argument: str) -> list[str]:
    """Turn `--watch-config=true`, as Go's switches may be written, into the switch or nothing."""
    name, equals, value = argument.partition("=")
    if not equals or name not in _SWITCHES or value not in _YES | _NO | {""}:
        return [argument]
    return [name] if value in _YES else []


def _is_file(argument: str) -> bool:
    """Say whether a first argument that is no command is meant as a configuration."""
    return argument.endswith((".yaml", ".yml")) or Path(argument).is_file()


def normalise(arguments: list[str]) -> list[str]:
    """Return the arguments in our own spelling, `serve` put in front where no command is."""
    plain = [one for argument in arguments for one in _switch(_undash(argument))]
    if "--version" in plain:
        return ["--version"]
    while plain and not plain[0]:
        del plain[0]
    first = plain[0] if plain else "".join(arguments)
    is_option = first.startswith("-") and first not in {"-h", "--help"}
    is_file = bool(plain) and first not in COMMANDS and not is_option and _is_file(first)
    return ["serve", *plain] if is_option or is_file else plain


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start here: modelswap demo",
)
@click.version_option(__version__, message="version: %(version)s")
def cli() -> None:
    """One port in front of every local model.

    modelswap starts, stops and swaps inference servers (llama.cpp, vLLM, SGLang,
    whisper.cpp, anything that speaks HTTP) by the `model` field of each request.
    It reads llama-swap's configuration and answers its HTTP API.
    """


def main() -> None:
    """Run the command line; the exit code is the command's."""
    given = sys.argv[1:]
    meant = normalise(given)
    is_unnamed = meant[:1] == ["serve"] != given[:1] and "".join(meant[1:2])[:1] in {"-", ""}
    sys.exit(cli.main(meant, prog_name="modelswap", standalone_mode=True, obj=is_unnamed))
