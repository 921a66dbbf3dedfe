"""`modelswap schema`."""

from __future__ import annotations

import json

import click

from .commands import HELP


@click.command(context_settings=HELP)
def command() -> None:
    """Print the JSON Schema of the configuration, for editors.

    \b
    With the YAML language server, in the configuration's first line:
      # yaml-language-server: $schema=./modelswap.schema.json
    """  # noqa: D301 - click's \b
    from modelswap.config.schema.reference import json_schema  # noqa: PLC0415 - --help must be quick

    click.echo(json.dumps(json_schema(), indent=2))
