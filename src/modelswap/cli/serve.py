"""`modelswap serve` with its help."""

from __future__ import annotations

import sys
from typing import Any

import click

from .commands import HELP, Option, models_options, path_option
from .serve_arguments import ServeArguments


@click.command(context_settings=HELP)
@path_option("--config", "FILE", "The configuration (YAML).")
@path_option("--config-dir", "DIR", "A folder whose *.yaml and *.yml files are merged into it.")
@models_options
@click.option(
    "--listen",
    metavar="ADDRESS",
    help="Where to listen: HOST:PORT, :PORT (all interfaces) or unix:/PATH.  "
    "[default: 127.0.0.1:8080; with TLS 127.0.0.1:8443]",
    cls=Option,
)
@click.option(
    "--models-autoload/--no-models-autoload",
    default=None,
    help="Whether a request loads its model.  [default: as modelsAutoload says: it does]",
)
@click.option(
    "--models-max",
    type=click.IntRange(0, 999_999_999),
    metavar="N",
    help="At most N models are loaded; the least recently used one leaves. 0: no bound.  "
    "[default: as modelsMax says: no bound]",
    cls=Option,
)
@click.option("--watch-config", is_flag=True, help="Reload when the configuration changes.")
@path_option(
    "--state-dir",
    "DIR",
    "Where the sockets and the lock are.  [default: one per address, in the user's state home]",
)
@path_option("--tls-cert-file", "FILE", "TLS certificate (PEM).")
@path_option("--tls-key-file", "FILE", "TLS key (PEM).")
@click.argument("files", nargs=-1, metavar="[FILE]")
@click.pass_obj
def command(is_unnamed: bool | None, /, **given: Any) -> None:  # noqa: FBT001 - click gives it by position
    """Serve every model of a configuration on one port.

    \b
    A configuration that is enough:
      models:
        qwen:
          cmd: llama-server --port ${PORT} -m /models/qwen.gguf

    \b
    Without one, a folder is enough: every model at any depth of it is served,
      modelswap serve --models-dir ~/models
    and without both the usual places are looked at: ~/models, Hugging Face's
    cache, the stores of LM Studio and Ollama.

    \b
    Then:
      modelswap serve config.yaml
      curl localhost:8080/v1/chat/completions -d '{"model": "qwen", "messages": [...]}'

    SIGHUP reloads; Ctrl-C or SIGTERM finishes what runs, then stops the models;
    a second one hurries.
    """  # noqa: D301 - click's \b
    sys.exit(ServeArguments(**given).serve(is_unnamed=bool(is_unnamed)))
