"""`modelswap pull`."""

from __future__ import annotations

import asyncio
import errno
import os
import sys
from typing import TYPE_CHECKING, Final

import click

from .commands import HELP, path_option
from .terminal import fail, refuse_argument, say

if TYPE_CHECKING:
    from pathlib import Path

    from modelswap.pull.progress import PullProgress
    from modelswap.pull.puller import ThreadPuller

    from .pull_output import Output

_STOPPED: Final = 130
"""Exit code after Ctrl-C, as shells have it."""


@click.command(context_settings=HELP)
@path_option("--config", "FILE", "Take names of its models that have a `source`, too.")
@click.option("--json", "as_json", is_flag=True, help="Print the progress as JSON, a line each.")
@click.option("--quiet", is_flag=True, help="Print nothing but the path of each model.")
@click.argument("sources", nargs=-1, metavar="SOURCE...", type=str)
def command(*, config: Path | None, as_json: bool, quiet: bool, sources: tuple[str, ...]) -> None:
    """Download models, so that they are here when they are wanted.

    \b
    A SOURCE is one of
      hf:OWNER/REPO            a repository of Hugging Face; of its GGUF files the
                               one that llama.cpp's -hf takes: Q4_K_M, else Q8_0
      hf:OWNER/REPO:Q6_K       another quantization
      hf:OWNER/REPO/FILE.gguf  one file (all its parts, if it is split)
      https://HOST/FILE.gguf   a file anywhere
      ollama:NAME:TAG          a model of Ollama's registry
    The projector (mmproj) of a model that sees or hears comes along.

    Files lie where other programs look for them: Hugging Face's cache (HF_HOME),
    Ollama's store (OLLAMA_MODELS). Ctrl-C keeps what came, and the same command
    goes on from there. Gated models need a token: HF_TOKEN, or `hf auth login`.

    \b
    Examples:
      modelswap pull hf:Qwen/Qwen3-8B-GGUF
      modelswap pull hf:unsloth/gemma-3-4b-it-GGUF:Q8_0 ollama:qwen3:0.6b
    """  # noqa: D301 - click's \b
    given = [source for source in sources if source]
    if not given:
        fail("modelswap: name what to pull, such as hf:OWNER/REPO; see modelswap pull --help")
    wanted = _resolved(given, config)
    from .pull_output import output  # noqa: PLC0415 - --help must be quick

    shown = output(as_json=as_json, is_quiet=quiet)
    try:
        with shown:
            ended = asyncio.run(_pull(wanted, shown))
    except KeyboardInterrupt:
        say("", "stopped; what came is kept: the same command goes on from there")
        sys.exit(_STOPPED)
    except OSError as problem:
        if problem.errno == errno.EPIPE:  # click ends quietly where the reader has gone
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is buffered is written at the exit
        fail(f"modelswap: the output cannot be written: {problem.strerror}")
    sys.exit(0 if all(one.failure is None for one in ended) else 1)


def _resolved(given: list[str], config: Path | None) -> list[str]:
    """Return the sources, each once; a name of a model stands for the model's source."""
    from modelswap.catalog.pull_source import canonical  # noqa: PLC0415 - --help must be quick

    names = _sources_of(config) if config is not None else {}
    wanted: dict[str, str] = {}
    for text in given:
        if text.startswith("-"):
            refuse_argument(text)
        source = names.get(text, text)
        if not source:
            fail(f"modelswap: the model {text} of {config} has no `source`")
        try:
            wanted.setdefault(canonical(source), source)
        except ValueError as problem:
            fail(f"modelswap: {problem}")
    return list(wanted.values())


def _sources_of(config: Path) -> dict[str, str]:
    """Return the source of each model and alias of a configuration; empty where it has none."""
    from modelswap.config.load import load  # noqa: PLC0415 - only with --config

    loaded = load(config, None)
    if loaded.plan is None:
        fail(*loaded.lines(strict=False))
    models = loaded.plan.models
    sources = {str(name): model.source for name, model in models.items()}
    return sources | {alias: models[name].source for alias, name in loaded.plan.aliases.items()}


async def _pull(sources: list[str], shown: Output) -> list[PullProgress]:
    """Pull all; return how each ended."""
    from modelswap.pull.puller import ThreadPuller  # noqa: PLC0415 - --help must be quick

    puller = ThreadPuller()
    changed = asyncio.Event()
    lost: list[OSError] = []

    def tell(progress: PullProgress) -> None:
        try:
            shown.show(progress)
        except OSError as problem:
            lost.append(problem)
        changed.set()

    puller.subscribe(tell)
    for source in sources:
        puller.start(source)
    try:
        while not lost and not all(progress.is_over for progress in puller.pulls()):
            await changed.wait()
            changed.clear()
    finally:
        puller.close()
    if lost:
        raise lost[0]
    for source in sources:
        await _say_end(puller, source, shown)
    return puller.pulls()


async def _say_end(puller: ThreadPuller, source: str, shown: Output) -> None:
    progress = puller.progress(source)
    assert progress is not None
    found = await asyncio.to_thread(puller.located, source) if progress.failure is None else None
    shown.end(progress, found.path if found else None)
