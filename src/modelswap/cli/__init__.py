"""The command line: one file a command, each imported only when it runs.

Without a command `serve` runs, so that `modelswap -config FILE` does what `llama-swap -config FILE`
does. llama-swap's spellings with a single dash are translated before parsing.

`serve` with well-formed arguments starts without click, whose import costs 10 ms and a megabyte. Help,
mistakes and the other commands are click's.
"""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import Final

from .terminal import COMMANDS, fail

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


_SWITCHES: Final = frozenset(
    {"--watch-config", "--version", "--strict", "--quiet", "--json", "--keep", "--once", "--binary"}
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


def main() -> None:
    given = sys.argv[1:]
    meant = normalise(given)
    is_unnamed = meant[:1] == ["serve"] != given[:1] and "".join(meant[1:2])[:1] in {"-", ""}
    if meant[:1] == ["serve"]:
        _serve_at_once(meant[1:], is_unnamed=is_unnamed)
    from .commands import cli  # noqa: PLC0415 - serve does not need it

    sys.exit(cli.main(meant, prog_name="modelswap", standalone_mode=True, obj=is_unnamed))


def _serve_at_once(arguments: list[str], *, is_unnamed: bool) -> None:
    """Serve and exit; return where click has to look at the arguments."""
    from .serve_arguments import plain  # noqa: PLC0415 - only for this command

    asked = plain(arguments)
    if asked is None:
        return
    gc.disable()  # until the program has its objects: most of them stay, and are looked at many times
    try:
        sys.exit(asked.serve(is_unnamed=is_unnamed))
    except KeyboardInterrupt:
        fail("", "Aborted!")  # as click says it
