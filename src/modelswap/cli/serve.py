"""`modelswap serve`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from . import HELP, Option, fail, models_options, path_option, refuse_argument

CONFIG_HERE = Path("config.yaml")


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
def command(
    is_unnamed: bool | None,  # noqa: FBT001 - click gives it by position
    /,
    **given: Any,
) -> None:
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
    sys.exit(_serve(is_unnamed=bool(is_unnamed), **given))


def _serve(
    *,
    is_unnamed: bool,
    config: Path | None,
    config_dir: Path | None,
    models_dir: tuple[Path, ...],
    models_preset: tuple[Path, ...],
    listen: str | None,
    watch_config: bool,
    state_dir: Path | None,
    tls_cert_file: Path | None,
    tls_key_file: Path | None,
    files: tuple[str, ...],
) -> int:
    from modelswap.app.options import Options, StartError  # noqa: PLC0415 - --help must be quick
    from modelswap.app.program import serve  # noqa: PLC0415 - the same

    named = _configuration([f for f in files if f], config or config_dir, is_unnamed)
    config = named or config
    if config is None and config_dir is None:
        config = _configuration_here(is_wanted=not models_dir and not models_preset)
    if (tls_cert_file is None) != (tls_key_file is None):
        fail("modelswap: --tls-cert-file and --tls-key-file go together")
    try:
        return serve(
            Options(
                config=config,
                config_dir=config_dir,
                models_dirs=models_dir,
                models_presets=models_preset,
                listen=listen,
                watch=watch_config,
                state_dir=state_dir,
                tls_cert=tls_cert_file,
                tls_key=tls_key_file,
            )
        )
    except StartError as error:
        fail(*error.lines)


def _configuration_here(*, is_wanted: bool) -> Path | None:
    """Return the configuration of the working folder, as llama-swap takes it where none is named.

    Where models are named it is not read: what is served must not depend on where one stands.
    """
    if not CONFIG_HERE.exists():
        return None
    if not is_wanted:
        click.echo(
            f"modelswap: {CONFIG_HERE} here is not read; for both: --config {CONFIG_HERE}", err=True
        )
    return CONFIG_HERE if is_wanted else None


def _configuration(files: list[str], named: Path | None, is_unnamed: bool) -> Path | None:  # noqa: FBT001 - private
    """Return the configuration given without an option; refuse every other argument.

    A command line without a command is llama-swap's, which ignores arguments.
    """
    is_taken = named is None and bool(files) and (not is_unnamed or Path(files[0]).is_file())
    for extra in files[1 if is_taken else 0 :]:
        if not is_unnamed:
            refuse_argument(extra)
        click.echo(f"modelswap: unexpected argument, ignored: {extra}", err=True)
    return Path(files[0]) if is_taken else None
