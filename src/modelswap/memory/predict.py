"""Predicts the memory of a server from its command, its environment and the files that they name.

Guarantees: `predict` never raises for what a command or a file says; headers are read again only when
a file or the options have changed. It blocks while it reads: call it from a thread.
Does not: look for files that a server would download (`-hf`), or that are in a container.
Memory: at most `MOST_KNOWN` predictions of about a kilobyte; no header is kept.
"""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final, assert_never

from modelswap.bounded_cache import BoundedCache
from modelswap.catalog.gguf.header import read_header
from modelswap.catalog.gguf.window import GgufError
from modelswap.procfs import read_bytes

from .prediction.command import Server, gpus_of, server_of, variables_of, visible_gpus
from .prediction.llama_cpp import Files, estimate
from .prediction.options import read_options
from .prediction.other_servers import SIZED_FLAGS, by_size, share_of_gpus, values_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from modelswap.catalog.gguf.header import GgufHeader
    from modelswap.core.placement.policy import DeviceId
    from modelswap.units import Bytes

    from .estimate import Estimate
    from .prediction.options import Options

MOST_KNOWN: Final = 4096
"""Predictions that are remembered: one for each model, and for each change of its command."""
_MOST_PARTS: Final = 1024
"""Files of a split model; the largest known ones have some dozens."""
_PART: Final = re.compile(r"-([0-9]{5})-of-([0-9]{5})\.gguf$", re.IGNORECASE)
"""How the name of a part of a split model ends, as llama.cpp demands."""
_REPACKED: Final = {
    "x86_64": frozenset({"q4_0", "q4_k", "iq4_nl", "mxfp4"}),
    "arm64": frozenset({"q4_0", "q4_k", "q5_k", "q6_k", "q8_0", "iq4_nl"}),
}
"""Machine: types of tensors that llama.cpp copies into another order (`ggml-cpu/repack.cpp`): with AVX2
measured here, with NEON read there."""
_FileKey = tuple[str, int, int, int]
"""Path, size, time of change in nanoseconds, and inode."""
_Key = tuple["Options", "tuple[DeviceId, ...] | None", bool, tuple[_FileKey, ...]]
_known: BoundedCache[_Key, Estimate | None] = BoundedCache(MOST_KNOWN)
"""Threads may share it: at worst two read the same files."""


def predict(
    argv: Sequence[str],
    env: Mapping[str, str] | Sequence[str],
    gpus: Mapping[DeviceId, Bytes],
) -> Estimate | None:
    """Predict the need of a server; `None` where its command is not known or its files cannot be read.

    *argv*: the command, split into words. *env*: its environment, a mapping or `NAME=value` texts. *gpus*: those
    of this machine, and the memory of each; vLLM and SGLang take a share.
    """
    variables = variables_of(env)
    visible = visible_gpus(variables)
    has_gpus = bool(gpus) and visible != ()
    try:
        found = server_of(argv)
        if found is None:
            return None
        server, arguments = found
        match server:
            case Server.LLAMA_SERVER | Server.ENGINE:
                is_llama_server = server is Server.LLAMA_SERVER
                options = read_options(arguments, variables, is_llama_server=is_llama_server)
                return _llama_cpp(options, visible, gpus=has_gpus)
            case Server.WHISPER | Server.DIFFUSION:
                return _by_files(server, arguments, gpus=has_gpus)
            case Server.VLLM | Server.SGLANG:
                return share_of_gpus(server, arguments, visible or (), gpus)
            case _ as never:
                assert_never(never)
    except (OSError, ValueError):  # a file that is not there, a path with a NUL, an open quote
        return None


def _llama_cpp(
    options: Options, visible: tuple[DeviceId, ...] | None, *, gpus: bool
) -> Estimate | None:
    model, draft = _parts(options.model), _parts(options.draft)
    others = [path for path in (options.projector, *options.adapters) if path]
    if not model:
        return None
    files = tuple(_key_of(path) for path in (*model, *draft, *others))
    key: _Key = (options, visible, gpus, files)
    if key not in _known:
        _known[key] = _read(
            options, visible, gpus=gpus, files=files, model=len(model), draft=len(draft)
        )
    return _known[key]


def _read(
    options: Options,
    visible: tuple[DeviceId, ...] | None,
    *,
    gpus: bool,
    files: tuple[_FileKey, ...],
    model: int,
    draft: int,
) -> Estimate | None:
    """Read the headers of all files: first those of the model, then of its draft model, then the others."""
    headers: list[GgufHeader] = []
    for path, size, _, _ in files:
        try:
            header = read_header(Path(path))
        except GgufError:
            return None
        if header.data_end > size:  # the download is not complete
            return None
        headers.append(header)
    others = headers[model + draft :]
    projector = others.pop(0) if options.projector else None
    devices = gpus_of(options, visible)
    return estimate(
        options,
        Files(
            model=headers[:model],
            draft=headers[model : model + draft],
            projector=projector,
            adapters=others,
        ),
        gpus=gpus and devices != (),
        devices=devices or (),
        repacked=_repacked(),
    )


def _parts(path: str) -> list[str]:
    """Return the files of a model that may be split; none without a path."""
    found = _PART.search(path)
    if not found or not 0 < int(found[2]) <= _MOST_PARTS:
        return [path] if path else []
    before, ending = path[: found.start()], path[-len(".gguf") :]
    return [f"{before}-{n:05}-of-{found[2]}{ending}" for n in range(1, int(found[2]) + 1)]


def _key_of(path: str) -> _FileKey:
    """Raise `OSError` for a file that is not there, `ValueError` for a path that no file can have."""
    found = os.stat(path)  # noqa: PTH116 - whatever the text is
    return path, found.st_size, found.st_mtime_ns, found.st_ino


def _repacked() -> frozenset[str]:
    machine = {"amd64": "x86_64", "aarch64": "arm64"}.get(
        platform.machine().lower(), platform.machine().lower()
    )
    if machine == "x86_64":
        flags = read_bytes("/proc/cpuinfo")
        if flags and b" avx2 " not in flags:
            return frozenset()
    return _REPACKED.get(machine, frozenset())


def _by_files(server: Server, arguments: Sequence[str], *, gpus: bool) -> Estimate | None:
    sizes = [Path(path).stat().st_size for path in values_of(arguments, SIZED_FLAGS[server])]
    return by_size(server, sum(sizes), gpus=gpus) if sizes else None
