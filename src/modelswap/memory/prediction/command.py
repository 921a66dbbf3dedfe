"""Which server a command starts, and which GPUs it sees."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from modelswap.core.placement.policy import DeviceId

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .options import Options

_VISIBLE: Final = (
    *("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"),
    "GGML_VK_VISIBLE_DEVICES",
)
"""Variables that say which GPUs a program sees; the first one that is set counts."""
_NUMBER: Final = re.compile(r"[0-9]{1,3}")
_NAMED: Final = re.compile(r"[A-Za-z]+([0-9]{1,3})")
"""How llama.cpp names a GPU: `CUDA0`, `ROCm1`, `Vulkan0`."""
_SHELLS: Final = frozenset({"-c", "-lc", "-ec"})
"""Flags of a shell; the next word is what it runs."""


class Server(Enum):
    LLAMA_SERVER = auto()
    ENGINE = auto()
    """`python -m modelswap.engine`."""
    VLLM = auto()
    SGLANG = auto()
    WHISPER = auto()
    DIFFUSION = auto()


_BEGINNINGS: Final = (
    ("llama-server", Server.LLAMA_SERVER),
    ("llama_server", Server.LLAMA_SERVER),
    ("whisper-server", Server.WHISPER),
    ("sd-server", Server.DIFFUSION),
)
"""How the name of a program begins."""
_MODULES: Final = {
    "modelswap.engine": Server.ENGINE,
    "vllm.entrypoints.openai.api_server": Server.VLLM,
    "sglang.launch_server": Server.SGLANG,
}
"""What Python runs with `-m`."""
_VERBS: Final = {
    ("llama", "serve"): Server.LLAMA_SERVER,
    ("llama", "server"): Server.LLAMA_SERVER,
    ("vllm", "serve"): Server.VLLM,
    ("sglang", "serve"): Server.SGLANG,
}


def server_of(words: Sequence[str]) -> tuple[Server, list[str]] | None:
    """Return the server and its arguments; other programs (`env`, `nice`, a shell) may stand before it.

    Raise `ValueError` for an open quote in what a shell is to run.
    """
    for at, word in enumerate(words):
        before = words[at - 1] if at else ""
        if before in _SHELLS and " " in word:
            return server_of(shlex.split(word))
        rest = list(words[at + 1 :])
        name = word.replace("\\", "/").rpartition("/")[2].lower().removesuffix(".exe")
        if before == "-m" and word in _MODULES:
            return _MODULES[word], rest
        if rest and (name, rest[0]) in _VERBS:
            return _VERBS[name, rest[0]], rest[1:]
        for beginning, server in _BEGINNINGS:
            if name.startswith(beginning):
                return server, rest
        if name.endswith("llamafile"):
            return Server.LLAMA_SERVER, rest
    return None


def variables_of(env: Mapping[str, str] | Sequence[str]) -> dict[str, str]:
    if isinstance(env, Mapping):
        return dict(env)
    pairs = (entry.partition("=") for entry in env)
    return {name: value for name, _, value in pairs}


def visible_gpus(variables: Mapping[str, str]) -> tuple[DeviceId, ...] | None:
    """Return the GPUs that the environment lets a program see; `None`: it does not say, or by other names."""
    text = next((variables[name] for name in _VISIBLE if name in variables), None)
    if text is None:
        return None
    found: list[DeviceId] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        if part.startswith("-"):
            break  # what follows is not seen
        if not _NUMBER.fullmatch(part):
            return None
        found.append(DeviceId(f"gpu{int(part)}"))
    return tuple(dict.fromkeys(found))


def gpus_of(options: Options, visible: tuple[DeviceId, ...] | None) -> tuple[DeviceId, ...] | None:
    """Return the GPUs that a llama.cpp server is bound to; `None`: it takes any; empty: none.

    `--device` and `--main-gpu` count among the visible ones.
    """
    if options.devices == ("none",):
        return ()
    numbers: list[int] = []
    if options.devices is not None:
        found = (_NAMED.fullmatch(name) for name in options.devices)
        numbers = [int(one[1]) for one in found if one is not None]
    elif options.main_gpu is not None:
        numbers = [options.main_gpu]
    if not numbers:
        return visible
    if visible is None:
        return tuple(DeviceId(f"gpu{number}") for number in numbers)
    return tuple(visible[number] for number in numbers if number < len(visible))
