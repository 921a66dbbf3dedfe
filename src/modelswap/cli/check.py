"""`modelswap check`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from .commands import HELP, models_options, path_option
from .serve_arguments import CONFIG_HERE
from .terminal import fail, refuse_argument


@click.command(context_settings=HELP)
@path_option("--config", "FILE", "The configuration.")
@path_option("--config-dir", "DIR", "A folder of more files.")
@models_options
@click.option("--strict", is_flag=True, help="Warnings, such as unknown keys, count as errors.")
@click.option("--quiet", is_flag=True, help="Say nothing when all is well.")
@click.argument("files", nargs=-1, metavar="[FILE]", type=str)
def command(
    *,
    config: Path | None,
    config_dir: Path | None,
    models_dir: tuple[Path, ...],
    models_preset: tuple[Path, ...],
    strict: bool,
    quiet: bool,
    files: tuple[str, ...],
) -> None:
    """Check a configuration, or show what it amounts to.

    Prints every problem with its file, line and key, and ends with exit code 1;
    or prints the models, their aliases and ports, the groups, and the models that
    were found on disk and are not served, with the reason. Programs, model
    files and folders that the commands name and that are not there are warnings,
    with --strict, too: they may be there where the configuration is used.
    Without arguments it looks where serve does: config.yaml here, else the usual
    places for models.
    """
    from modelswap.config.checks.preflight import preflight  # noqa: PLC0415 - the same
    from modelswap.config.describe import describe  # noqa: PLC0415 - --help must be quick
    from modelswap.config.discover.disk.places import Discovery  # noqa: PLC0415 - the same
    from modelswap.config.load import load  # noqa: PLC0415 - the same

    is_named = config is not None or config_dir is not None
    files = tuple(file for file in files if file)
    for extra in files[0 if is_named else 1 :]:
        refuse_argument(extra)
    if not is_named and files:
        config = Path(files[0])
    is_open = not (is_named or files or models_dir or models_preset)
    if is_open and CONFIG_HERE.exists():
        config, is_open = CONFIG_HERE, False
    asked = Discovery(models_dir, models_preset, usual=is_open)
    loaded = load(config, config_dir, check=preflight, discovery=asked)
    for line in loaded.lines(strict=strict):
        click.echo(line, err=True)
    for key in loaded.not_active:
        click.echo(f"note: {key}: not active in this version", err=True)
    if not loaded.is_good(strict=strict):
        sys.exit(1)
    if is_open and loaded.plan is not None and not loaded.plan.models:
        from modelswap.app.found_log import nothing_found  # noqa: PLC0415 - hardly ever

        fail(*nothing_found(loaded.plan))
    if loaded.plan is not None and not quiet:
        for line in describe(loaded.plan):
            click.echo(line)
