"""`modelswap decisions`."""

from __future__ import annotations

import json
from typing import Any

import click

from modelswap.cli.commands import HELP
from modelswap.cli.terminal import refuse_argument

from .asking import Server, server_options


@click.command(context_settings=HELP)
@server_options
@click.option("--model", metavar="MODEL", help="Only those of this model.")
@click.option(
    "--limit", type=click.IntRange(1, 500), default=25, show_default=True, help="How many at most."
)
@click.argument("extra", nargs=-1, metavar="")
def command(
    *, model: str | None, limit: int, extra: tuple[str, ...], is_json: bool, **server: Any
) -> None:
    """List the newest decisions of the running server, the oldest of them first.

    Each line says when a model was started, who asked for it, which models had to
    leave for it and why those, and how it ended (GET /api/decisions). Those from
    before the server's start are there where store.path is configured.
    """
    for one in extra:
        refuse_argument(one)
    query: dict[str, object] = {"limit": limit}
    if model:
        query["model"] = model
    found = Server(name="decisions", **server).ask("/api/decisions", query)
    if is_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    for decision in reversed(found["data"]):
        click.echo(f"{decision['time']}  {decision['text']}")
    if not found["data"]:
        click.echo("no decisions yet", err=True)
