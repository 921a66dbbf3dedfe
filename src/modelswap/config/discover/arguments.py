"""The arguments of llama-server that follow from what is known of a found model. Pure."""

from __future__ import annotations

import re
import shlex
import subprocess
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from modelswap.catalog.found import ModelFormat, ModelKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from modelswap.catalog.found import FoundModel

    from .presets import Options

_LARGEST_BATCH: Final = 2048
"""Tokens: a longer text is refused by an embedding model's server, and a larger batch needs much more
memory for the attention's scores."""
_OLLAMA_OPTIONS: Final = {
    "num_ctx": "ctx-size",
    "num_batch": "batch-size",
    "num_gpu": "n-gpu-layers",
    "num_thread": "threads",
    "num_keep": "keep",
    "num_predict": "n-predict",
    "temperature": "temperature",
    "top_k": "top-k",
    "top_p": "top-p",
    "min_p": "min-p",
    "typical_p": "typical-p",
    "repeat_last_n": "repeat-last-n",
    "repeat_penalty": "repeat-penalty",
    "presence_penalty": "presence-penalty",
    "frequency_penalty": "frequency-penalty",
    "mirostat": "mirostat",
    "mirostat_eta": "mirostat-lr",
    "mirostat_tau": "mirostat-ent",
    "seed": "seed",
}
"""Ollama's parameter: the option of llama-server with the same meaning. Each is a number."""
_NUMBER: Final = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?")
"""Other text is no value of these options, and a line break in it would end the quoting."""
MOST_DIGITS: Final = 12
"""Digits of a whole number: Python refuses to read one of thousands."""
_CONTEXT_FLAGS: Final = frozenset({"-c", "--ctx-size", "--max-model-len", "--context-length"})
"""Of llama-server, vLLM and SGLang."""


def known_options(model: FoundModel) -> Options:
    """Return the options that a GGUF model needs, and those that its store holds for it.

    A parameter of the store that is no number is left out.
    """
    if model.format is not ModelFormat.GGUF:
        return {}
    found: Options = {}
    if model.mmproj is not None:
        found["mmproj"] = ("--mmproj", str(model.mmproj))
    if model.adapters:
        found["lora"] = tuple(word for file in model.adapters for word in ("--lora", str(file)))
    if model.kind is ModelKind.CHAT:
        if model.tools:
            found["jinja"] = ("--jinja",)
    else:
        name = "embedding" if model.kind is ModelKind.EMBEDDING else "reranking"
        found[name] = (f"--{name}",)
        # The whole text has to fit into one physical batch.
        size = str(min(model.context_length or _LARGEST_BATCH, _LARGEST_BATCH))
        found["batch-size"] = ("--batch-size", size)
        found["ubatch-size"] = ("--ubatch-size", size)
    for name, value in model.options.items():
        option = _OLLAMA_OPTIONS.get(name)
        if option is not None and _NUMBER.fullmatch(value):
            found[option] = (f"--{option}", value)
    return found


def quoted(words: Iterable[str], *, windows: bool) -> str:
    """Return words as text for a command, so that it is split into them again."""
    return subprocess.list2cmdline([*words]) if windows else shlex.join(words)


def context_of(words: Sequence[str]) -> int | None:
    """Return the context length that arguments set; the last one counts."""
    found: int | None = None
    for word, following in pairwise((*words, "")):
        name, equals, value = word.partition("=")
        value = value if equals else following
        if name in _CONTEXT_FLAGS and value.isdecimal() and len(value) <= MOST_DIGITS:
            found = int(value) or None
    return found


def joined(parts: Iterable[str]) -> str:
    return " ".join(part for part in parts if part)
