"""`modelswap plan`."""

from __future__ import annotations

import json
from typing import Any

import click

from modelswap.cli.commands import HELP
from modelswap.cli.terminal import refuse_argument

from .asking import Server, server_options


@click.command(context_settings=HELP)
@server_options
@click.argument("model", required=False)
@click.argument("extra", nargs=-1, metavar="")
def command(*, model: str | None, extra: tuple[str, ...], is_json: bool, **server: Any) -> None:
    """Say what would happen to a request for MODEL now, and why. Nothing is done.

    The answer is the running server's (GET /api/plan): served at once, waiting and
    for what, started after which models leave and why those, or refused; then each
    device with what it holds now and afterwards. Without MODEL: the devices alone.

    \b
    Examples:
      modelswap plan
      modelswap plan qwen
      modelswap plan qwen --url https://box:8443 --json
    """  # noqa: D301 - click's \b
    for one in extra:
        refuse_argument(one)
    query: dict[str, object] = {} if model is None else {"model": model}
    found = Server(name="plan", **server).ask("/api/plan", query)
    if is_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    if model is not None:
        click.echo(found["text"])
    if compared := found.get("memory", {}).get("text"):
        click.echo(f"{found['model']}: {compared}")
    for device in found.get("devices", ()):
        click.echo(device["text"])
