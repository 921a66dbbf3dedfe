"""What engines, loaders, shells and containers print when they do not start, and what it means."""

from __future__ import annotations

import re
from typing import Final

from modelswap.core.failure import Cause
from modelswap.deferred import dataclass, regex


@dataclass(frozen=True, slots=True)
class Rule:
    """Lines that name a cause. One that the pattern fits holds one of the signs, which cost far less."""

    cause: Cause
    signs: tuple[str, ...]
    pattern: re.Pattern[str]

    def fits(self, text: str, lower: str) -> bool:
        is_signed = any(sign in lower for sign in self.signs)
        return is_signed and self.pattern.search(text) is not None


def _rule(cause: Cause, signs: str, *patterns: str) -> Rule:
    """Make a rule of signs and patterns, both with bars between them."""
    return Rule(cause, tuple(signs.split("|")), regex("|".join(patterns), re.IGNORECASE))


RULES: Final = (
    _rule(
        Cause.PROGRAM_NOT_FOUND,
        "not found|no such file",
        r"command not found",
        r"^(?:/\S+/)?(?:ba|da|z|k|a)?sh: (?:line )?(?:\d+: )?\S+: (?:not found|no such file)",
        r"executable file not found|^(?:/usr/bin/)?env: .{0,200}: no such file",
    ),
    _rule(
        Cause.OUT_OF_MEMORY,
        "memory|alloc|oom|vram|space left|larger than|more than",
        r"(?:cuda|hip|rocm|musa|sycl|cann|cudamalloc|hipmalloc|xpu|mps|vk)\w*\W.{0,80}out[ _]of[ _]memory",
        r"OutOfMemoryError|OUT_OF_(?:\w+_)?MEMORY\b|\bErrorOutOf(?:Device|Host)Memory",
        r"VK_ERROR_OUT_OF_\w+_MEMORY|CUBLAS_STATUS_ALLOC_FAILED|cudaErrorMemoryAllocation",
        r"hipErrorOutOfMemory|kIOGPUCommandBufferCallbackErrorOutOfMemory|insufficient memory",
        r"device memory allocation of size \d+ failed|no available memory for the cache blocks",
        r"larger than the available KV cache memory",
        r"free memory on device .{0,120}less than desired",
        r"(?:larger|more) than the (?:available|maximum number of tokens).{0,60}KV cache",
        r"not enough memory\. please try|ran out of (?:gpu |device |host )?memory",
        r"(?:failed|unable) to allocate .{0,60}(?:buffer|memory|kv|cache|pinned|bytes|[MG]i?B\b)",
        r"cannot allocate memory|can't allocate memory|unable to allocate|std::bad_alloc",
        r"^MemoryError\b|alloc_buffer: .{0,80}failed|alloc_tensor_range: failed",
        r"out of memory: killed process|oom-?kill|no space left on device.{0,80}shm",
        r"insufficient vram|error: out of memory|^out of memory",
    ),
    _rule(
        Cause.ADDRESS_IN_USE,
        "in use|eaddrinuse|port is|allocated|taken|address|bind",
        r"address already in use|EADDRINUSE",
        r"port (?:is|\d+ is) (?:already )?(?:allocated|in use|taken)|address in use",
        r"only one usage of each socket address|address not available.{0,40}bind|couldn'?t bind",
        r"(?:could not|cannot|can't|failed to|unable to) bind\b",
    ),
    _rule(
        Cause.UNKNOWN_ARGUMENT,
        (
            "argument|option|parameter|requires|unknown|unrecogni|unexpected|flag|choice|stoi|takes a|"
            "missing|invalid value|error: -"
        ),
        r"error: invalid argument|error while handling argument",
        r"unrecognized (?:argument|option|command.line)|unrecognised (?:arg|opt)",
        r"unknown (?:argument|option|flag|command.line|parameter|command)\b|no such option\b",
        r"unexpected argument|unexpected option|found argument '.{1,80}' which wasn't expected",
        r"(?:invalid|illegal|ambiguous|bad) option|flag provided but not defined",
        r"unknown shorthand flag|expected (?:one|at least one|\d+) arguments?\b|invalid choice: ",
        r"argument -.{0,80}: invalid \w+ value|the following arguments are required",
        r"missing required (?:argument|option)|missing option|expected value for argument",
        r"requires an? (?:argument|value|parameter)|invalid value .{0,80}for '|stoi\b",
        r"invalid value for |takes a number, not|--\S+ is missing",
        r"error: --?[a-z][\w-]*[: ].{0,80}(?:must|invalid|requires|needs)",
    ),
    _rule(
        Cause.MISSING_LIBRARY,
        "librar|shared object|not found|module|importerror|symbol|dll load",
        r"error while loading shared libraries|cannot open shared object file|library not loaded",
        r"image not found.{0,80}dylib|ModuleNotFoundError|No module named|ImportError: ",
        r"version `\S+' not found|symbol lookup error|undefined symbol|DLL load failed",
        r"cannot find module '|ERR_MODULE_NOT_FOUND",
    ),
    _rule(
        Cause.NO_DEVICE,
        "driver|nvidia-container|cdi |cuda|hip |device",
        r"could not select device driver|nvidia-container-cli|unresolvable CDI devices",
        r"CUDA driver version is insufficient|NVIDIA driver on your system is too old",
        r"found no nvidia driver|no CUDA GPUs are available|torch not compiled with CUDA",
        r"failed to infer device type|CUDA error: (?:no kernel image|invalid device ordinal)",
        r"no HIP GPUs are available|invalid device(?: ordinal|: )",
        r"error gathering device information|cuda error: system not yet init",
        r"failed to find .{0,30}vulkan device|no devices with dedicated",
    ),
    _rule(
        Cause.BAD_MODEL,
        (
            "magic|architecture|bounds|incomplete|gguf|missing tensor|wrong|unsupported|invalid|"
            "unknown p|safetensor|header|metadata|bad model|unexpected|not found in|is a directory|"
            "isadirectory|no model|loader"
        ),
        r"invalid magic|bad magic|unknown model architecture|unknown architecture",
        r"is not within the file bounds|corrupted or incomplete|is not a gguf|not a valid gguf",
        r"gguf_init_from\w*: (?!failed to open)|missing tensor|wrong number of tensors",
        r"wrong shape|unsupported (?:gguf|model|version|file version)|unsupported gguf",
        r"invalid split file",
        r"model architectures? .{0,120}(?:not supported|are not supported|failed to be inspected)",
        r"does not recognize this architecture|unknown (?:pre-tokenizer|projector) type",
        r"safetensors?\w*error|error while deserializing header|HeaderTooLarge",
        r"incomplete metadata|init model loader from file failed|invalid model data",
        r"invalid model file|bad model file|tensor '?\S+'? has (?:wrong|unexpected)",
        r"key not found in model|unsupported tensor type|invalid ggml type",
        r"tokenizer.{0,80}not found in|is a directory$|IsADirectoryError|unsupported model type",
        r"no model files? (?:found|in)",
    ),
    _rule(
        Cause.FILE_NOT_FOUND,
        (
            "open|no such file|notfound|not found|exist|cannot find|enoent|no file|not a local|"
            "not the path|incorrect path|validationerror|find '|repository id"
        ),
        r"failed to open gguf file|no such file or directory|FileNotFoundError",
        r"cannot find the file",
        r"(?:file|model|path|folder|directory|config)\b.{0,200}(?:does not exist|doesn't exist|not found)",
        r"does this file exist|error: (?:failed to|could not|cannot|unable to) open|ENOENT",
        r"failed to open (?:['\"`~/]|\.{0,2}/|\S+\.\w)|cannot find .{0,40}file\b",
        r"could not open (?:file|model|input)|can't open file|cannot open (?:file|model)",
        r"couldn't open|unable to open (?:file|model)|can't find '|RepositoryNotFoundError",
        r"Repository Not Found for url|is not a local folder and is not a valid model identifier",
        r"is not the path to a directory containing|Incorrect path_or_model_id|HFValidationError",
        r"EntryNotFoundError|error no file specified|invalid repository id or local directory",
        r": No such file",
    ),
    _rule(
        Cause.PERMISSION_DENIED,
        "denied|permission|eacces|permitted|eperm|gated|restricted",
        r"permission denied|PermissionError|EACCES|operation not permitted|EPERM\b|GatedRepoError",
        r"access to model .{0,120}(?:restricted|gated)",
    ),
    _rule(
        Cause.NETWORK,
        "resol|connect|network|route|addrinfo|no such host|ssh: |localentry|cannot reach",
        r"could(?: not|n'?t) resolve (?:host|hostname|proxy)\b|failed to resolve '",
        r"name resolution|getaddrinfo failed|no such host\b|^ssh: |network is unreachable",
        r"no route to host|could(?: not|n'?t) connect to (?:server|host)",
        r"failed to establish a new connection|LocalEntryNotFoundError",
        r"cannot reach .{0,60}huggingface|couldn't connect to '?https?:",
        r"connection to \S+ timed out|ConnectTimeout",
    ),
    _rule(
        Cause.CONTAINER,
        "daemon|pull access|no such|manifest|locally|oci runtime|crun|source docker|short-name",
        r"error response from daemon|pull access denied|no such (?:container|image)",
        r"manifest unknown|cannot connect to the docker daemon|manifest for .{0,200}not found",
        r"unable to find image .{0,200}locally$|OCI runtime (?:create|exec) failed",
        r"^error: .{0,200}crun:|error: .{0,60}(?:initializing source docker|short-name)",
    ),
)
"""The first rule that fits a line gives its cause."""
