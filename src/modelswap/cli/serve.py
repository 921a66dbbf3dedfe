"""`modelswap serve`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from . import HELP, Option, fail, path_option, refuse_argument

CONFIG_HERE = Path("config.yaml")


@click.command(context_settings=HELP)
@path_option("--config", "FILE", "The configuration (YAML).")
@path_option("--config-dir", "DIR", "A folder whose *.yaml and *.yml files are merged into it.")
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
    *,
    config: Path | None,
    config_dir: Path | None,
    listen: str | None,
    watch_config: bool,
    state_dir: Path | None,
    tls_cert_file: Path | None,
    tls_key_file: Path | None,
    files: tuple[str, ...],
) -> None:
    """Serve every model of a configuration on one port.

    \b
    A configuration that is enough:
      models:
        qwen:
          cmd: llama-server --port ${PORT} -m /models/qwen.gguf

    \b
    Then:
      modelswap serve config.yaml
      curl localhost:8080/v1/chat/completions -d '{"model": "qwen", "messages": [...]}'

    SIGHUP reloads; Ctrl-C or SIGTERM finishes what runs, then stops the models;
    a second one hurries.
    """  # noqa: D301 - click's \b
    from modelswap.app.options import Options, StartError  # noqa: PLC0415 - the same
    from modelswap.app.program import serve  # noqa: PLC0415 - --help must be quick

    named = _configuration([f for f in files if f], config or config_dir, bool(is_unnamed))
    config = named or config
    if config is None and config_dir is None and CONFIG_HERE.exists():
        config = CONFIG_HERE
    if config is None and config_dir is None:
        fail("modelswap: no configuration: use --config FILE or --config-dir DIR")
    if (tls_cert_file is None) != (tls_key_file is None):
        fail("modelswap: --tls-cert-file and --tls-key-file go together")
    try:
        code = serve(
            Options(
                config=config,
                config_dir=config_dir,
                listen=listen,
                watch=watch_config,
                state_dir=state_dir,
                tls_cert=tls_cert_file,
                tls_key=tls_key_file,
            )
        )
    except StartError as error:
        fail(*error.lines)
    sys.exit(code)


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
