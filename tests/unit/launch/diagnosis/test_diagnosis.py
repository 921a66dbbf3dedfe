"""The line that says why a server ended: what real programs print."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelswap.core.failure import Cause
from modelswap.launch.diagnosis import diagnosis, symptoms
from modelswap.launch.diagnosis.diagnosis import OutputTail, diagnose

LLAMA = "0.00.004.374 E "
VLLM = "(EngineCore_DP0 pid=17374) ERROR 09-28 15:47:24 [core.py:718] "

SINGLE: list[tuple[Cause | None, str]] = [
    # GPU memory
    (
        Cause.OUT_OF_MEMORY,
        (
            "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 35533.34 MiB on device 0: "
            "cudaMalloc failed: out of memory"
        ),
    ),
    (Cause.OUT_OF_MEMORY, "CUDA error: out of memory"),
    (Cause.OUT_OF_MEMORY, "ROCm error: out of memory"),
    (
        Cause.OUT_OF_MEMORY,
        (
            "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 8192.00 MiB on device 0: "
            "hipMalloc failed: out of memory"
        ),
    ),
    (
        Cause.OUT_OF_MEMORY,
        (
            "ggml_metal_graph_compute: command buffer 1 failed with status 5: error: Insufficient Memory "
            "(00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)"
        ),
    ),
    (Cause.OUT_OF_MEMORY, "ggml_vulkan: Device memory allocation of size 1610612736 failed."),
    (Cause.OUT_OF_MEMORY, "ggml_vulkan: vk::Device::allocateMemory: ErrorOutOfDeviceMemory"),
    (Cause.OUT_OF_MEMORY, "llama_model_load: error loading model: unable to allocate CUDA0 buffer"),
    (Cause.OUT_OF_MEMORY, "llama_kv_cache_init: failed to allocate buffer for kv cache"),
    (
        Cause.OUT_OF_MEMORY,
        (
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total "
            "capacity of 23.64 GiB of which 1.20 GiB is free."
        ),
    ),
    (
        Cause.OUT_OF_MEMORY,
        "torch.cuda.OutOfMemoryError: HIP out of memory. Tried to allocate 64.00 MiB.",
    ),
    (
        Cause.OUT_OF_MEMORY,
        VLLM + "ValueError: No available memory for the cache blocks. Try increasing "
        "`gpu_memory_utilization` when initializing the engine.",
    ),
    (
        Cause.OUT_OF_MEMORY,
        VLLM
        + "ValueError: Free memory on device (3.22/4.0 GiB) on startup is less than desired GPU "
        "memory utilization (0.9, 3.6 GiB). Decrease GPU memory utilization.",
    ),
    (
        Cause.OUT_OF_MEMORY,
        (
            "ValueError: To serve at least one request with the models's max seq len (131072), (16.00 GiB "
            "KV cache is needed, which is larger than the available KV cache memory (8.50 GiB)."
        ),
    ),
    (
        Cause.OUT_OF_MEMORY,
        (
            "[2026-03-01 10:00:00] RuntimeError: Not enough memory. Please try to increase "
            "--mem-fraction-static."
        ),
    ),
    (
        Cause.OUT_OF_MEMORY,
        "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    ),
    (
        Cause.OUT_OF_MEMORY,
        (
            "[ERROR] ggml_extend.hpp:83   - ggml_backend_cuda_buffer_type_alloc_buffer: allocating 9000.00 "
            "MiB on device 0: cudaMalloc failed: out of memory"
        ),
    ),
    # host memory
    (
        Cause.OUT_OF_MEMORY,
        "ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer of size 437944320",
    ),
    (Cause.OUT_OF_MEMORY, "terminate called after throwing an instance of 'std::bad_alloc'"),
    (
        Cause.OUT_OF_MEMORY,
        "RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory",
    ),
    (Cause.OUT_OF_MEMORY, "MemoryError"),
    (
        Cause.OUT_OF_MEMORY,
        "numpy.core._exceptions._ArrayMemoryError: Unable to allocate 12.0 GiB for an array",
    ),
    # the address
    (
        Cause.ADDRESS_IN_USE,
        LLAMA
        + "srv         start: couldn't bind HTTP server socket, hostname: 127.0.0.1, port: 9000",
    ),
    (Cause.ADDRESS_IN_USE, "OSError: [Errno 98] Address already in use"),
    (
        Cause.ADDRESS_IN_USE,
        (
            "ERROR:    [Errno 98] error while attempting to bind on address ('127.0.0.1', 8000): "
            "address already in use"
        ),
    ),
    (Cause.ADDRESS_IN_USE, "Error: listen EADDRINUSE: address already in use 127.0.0.1:5800"),
    (Cause.ADDRESS_IN_USE, "listen tcp 127.0.0.1:5800: bind: address already in use"),
    (
        Cause.ADDRESS_IN_USE,
        (
            "docker: Error response from daemon: driver failed programming external connectivity on "
            "endpoint vllm: Bind for 0.0.0.0:8000 failed: port is already allocated."
        ),
    ),
    # arguments
    (Cause.UNKNOWN_ARGUMENT, "error: invalid argument: --foo"),
    (Cause.UNKNOWN_ARGUMENT, 'error while handling argument "--ctx-size": stoi'),
    (Cause.UNKNOWN_ARGUMENT, "modelswap engine: unknown flag --foo (did you mean --fit?)"),
    (Cause.UNKNOWN_ARGUMENT, "modelswap engine: --port takes a number, not 'abc'"),
    (Cause.UNKNOWN_ARGUMENT, "api_server.py: error: unrecognized arguments: --foo bar"),
    (
        Cause.UNKNOWN_ARGUMENT,
        "vllm: error: argument --max-model-len: invalid int value: 'lots'",
    ),
    (Cause.UNKNOWN_ARGUMENT, "error: unknown argument: --foo"),
    (Cause.UNKNOWN_ARGUMENT, "error: unexpected argument '--foo' found"),
    (Cause.UNKNOWN_ARGUMENT, "Error: No such option: --foo Did you mean --food?"),
    (Cause.UNKNOWN_ARGUMENT, "flag provided but not defined: -foo"),
    (Cause.UNKNOWN_ARGUMENT, "unknown flag: --gpuz"),
    (Cause.UNKNOWN_ARGUMENT, "node: bad option: --foo"),
    # files
    (
        Cause.FILE_NOT_FOUND,
        LLAMA
        + "gguf_init_from_file: failed to open GGUF file '/nope/mm.gguf' (No such file or directory)",
    ),
    (
        Cause.FILE_NOT_FOUND,
        "modelswap engine: cannot read the model '/nope/x.gguf': No such file or directory",
    ),
    (
        Cause.FILE_NOT_FOUND,
        "whisper_init_from_file_with_params_no_state: failed to open 'models/ggml-base.en.bin'",
    ),
    (Cause.FILE_NOT_FOUND, "error: failed to open file '/nope/template.jinja'"),
    (
        Cause.FILE_NOT_FOUND,
        "FileNotFoundError: [Errno 2] No such file or directory: '/models/config.json'",
    ),
    (
        Cause.FILE_NOT_FOUND,
        "python3: can't open file '/opt/ComfyUI/main.py': [Errno 2] No such file or directory",
    ),
    (
        Cause.FILE_NOT_FOUND,
        (
            "OSError: /models/qwen is not a local folder and is not a valid model identifier listed on "
            "'https://huggingface.co/models'"
        ),
    ),
    (
        Cause.FILE_NOT_FOUND,
        "huggingface_hub.errors.RepositoryNotFoundError: 404 Client Error.",
    ),
    (Cause.FILE_NOT_FOUND, "ERROR:    Model path /models/exl3 does not exist."),
    # the model
    (
        Cause.BAD_MODEL,
        LLAMA + "llama_model_load: error loading model: tensor 'blk.0.ffn_gate.weight' data is not "
        "within the file bounds, model is corrupted or incomplete",
    ),
    (
        Cause.BAD_MODEL,
        LLAMA + "gguf_init_from_reader: invalid magic characters: 'hell', expected 'GGUF'",
    ),
    (
        Cause.BAD_MODEL,
        (
            "llama_model_load: error loading model: error loading model architecture: unknown model "
            "architecture: 'qwen9'"
        ),
    ),
    (Cause.BAD_MODEL, "modelswap engine: 'bad.gguf' is not a GGUF model"),
    (Cause.BAD_MODEL, "modelswap engine: cannot read the model '/tmp': Is a directory"),
    (
        Cause.BAD_MODEL,
        "llama_model_load: error loading model: missing tensor 'token_embd.weight'",
    ),
    (
        Cause.BAD_MODEL,
        "ValueError: Model architectures ['Qwen9ForCausalLM'] are not supported for now.",
    ),
    (
        Cause.BAD_MODEL,
        (
            "ValueError: The checkpoint you are trying to load has model type `qwen9` but Transformers "
            "does not recognize this architecture."
        ),
    ),
    (
        Cause.BAD_MODEL,
        "safetensors_rust.SafetensorError: Error while deserializing header: HeaderTooLarge",
    ),
    (Cause.BAD_MODEL, "whisper_model_load: invalid model data (bad magic)"),
    # libraries
    (
        Cause.MISSING_LIBRARY,
        (
            "llama-server: error while loading shared libraries: libcuda.so.1: cannot open shared object "
            "file: No such file or directory"
        ),
    ),
    (Cause.MISSING_LIBRARY, "dyld[123]: Library not loaded: @rpath/libllama.dylib"),
    (Cause.MISSING_LIBRARY, "ModuleNotFoundError: No module named 'vllm'"),
    (Cause.MISSING_LIBRARY, "/usr/bin/python3: No module named vllm"),
    (
        Cause.MISSING_LIBRARY,
        "llama-server: /lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.38' not found",
    ),
    # rights
    (Cause.PERMISSION_DENIED, "PermissionError: [Errno 13] Permission denied: '/models/x'"),
    (
        Cause.PERMISSION_DENIED,
        (
            "huggingface_hub.errors.GatedRepoError: 401 Client Error. Access to model meta-llama is "
            "restricted."
        ),
    ),
    (Cause.PERMISSION_DENIED, "bash: line 1: /opt/llama-server: Permission denied"),
    # devices
    (
        Cause.NO_DEVICE,
        (
            'docker: Error response from daemon: could not select device driver "" with capabilities: '
            "[[gpu]]."
        ),
    ),
    (Cause.NETWORK, "ssh: connect to host gpu port 22: Connection refused"),
    (Cause.NETWORK, "ssh: Could not resolve hostname gpu: Name or service not known"),
    (Cause.NETWORK, "common_download_file_single: could not resolve host: huggingface.co"),
    (Cause.NETWORK, "socket.gaierror: [Errno -3] Temporary failure in name resolution"),
    (
        Cause.NETWORK,
        "docker: Error response from daemon: Get x: dial tcp: lookup ghcr.io: no such host",
    ),
    (Cause.FILE_NOT_FOUND, "clip_init: failed to open /models/mmproj.gguf"),
    (Cause.FILE_NOT_FOUND, "Cannot find text model file: /models/x.gguf"),
    (
        Cause.BAD_MODEL,
        "[ERROR] stable-diffusion.cpp:200  - init model loader from file failed: '/m/sd.gguf'",
    ),
    (Cause.OUT_OF_MEMORY, "Native API returns: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)"),
    (Cause.NO_DEVICE, "RuntimeError: No CUDA GPUs are available"),
    (Cause.NO_DEVICE, "RuntimeError: Failed to infer device type, please set the environment"),
    (
        Cause.NO_DEVICE,
        "RuntimeError: Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU",
    ),
    # containers
    (
        Cause.CONTAINER,
        (
            "docker: Error response from daemon: pull access denied for vlm/vllm, repository does not "
            "exist or may require 'docker login'"
        ),
    ),
    (
        Cause.CONTAINER,
        (
            'docker: Error response from daemon: Conflict. The container name "/vllm" is already in use '
            'by container "0123".'
        ),
    ),
    (Cause.CONTAINER, "Error response from daemon: No such container: llama"),
    (
        Cause.CONTAINER,
        (
            "docker: Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker "
            "daemon running?"
        ),
    ),
    # shells
    (Cause.PROGRAM_NOT_FOUND, "sh: 1: llama-serverr: not found"),
    (Cause.PROGRAM_NOT_FOUND, "bash: line 1: llama-serverr: command not found"),
    (Cause.PROGRAM_NOT_FOUND, "/usr/bin/env: 'python4': No such file or directory"),
    # no class, but the line
    (None, "RuntimeError: the tokenizer has no chat template"),
    (None, "error: the context is too small for the batch"),
    (None, "GGML_ASSERT(n_tokens_all <= cparams.n_batch) failed"),
    (None, "thread 'main' panicked at src/main.rs:10:5:"),
]


@pytest.mark.parametrize(("cause", "line"), SINGLE)
def test_a_line_between_others(cause: Cause | None, line: str) -> None:
    """The line is found between what comes before and after it, and its class with it."""
    before = [
        "0.00.000.281 I srv          init: initializing ...",
        "0.00.002.638 W srv          init: security: no API key is set and CORS allows all origins",
        "llama_model_loader: - kv   0:            general.architecture str              = llama",
        "INFO 04-30 10:20:35 [gpu_worker.py:298] Available KV cache memory: 5.20 GiB",
        "WARNING 04-30 10:20:35 [__init__.py:20] Failed to import from vllm._C with ImportError",
        "Device 0: NVIDIA RTX A6000, compute capability 8.6, VMM: yes",
    ]
    after = [
        "0.00.019.102 I srv    operator(): operator(): cleaning up before exit...",
        "0.00.019.459 E srv          init: exiting due to model loading error",
        "modelswap engine: cannot serve 't.gguf': Failed to init server, please check the input params.",
        "",
    ]
    found = diagnose([*before, line, *after])
    assert found is not None
    assert found.cause == cause
    if cause is not None:
        assert found.line in " ".join(line.split())
        assert found.line[-20:] == " ".join(line.split())[-20:]


def test_the_line_alone() -> None:
    """Each line of the table is found when it is all there is."""
    for cause, line in SINGLE:
        found = diagnose([line])
        assert found is not None
        assert (found.cause, found.is_error) == (cause, True), line


MMPROJ = b"""\
0.00.004.193 I srv          init: loading model
0.00.004.256 I srv    load_model: loading model 't.gguf'
0.00.004.374 E gguf_init_from_file: failed to open GGUF file '/nope/mm.gguf' (No such file or directory)
0.00.004.508 E mtmd_get_memory_usage: error: Failed to load CLIP model from /nope/mm.gguf

0.00.012.872 E clip_init: failed to load model '/nope/mm.gguf': clip_model_loader: failed to load CLIP model from /nope/mm.gguf. Does this file exist?
0.00.012.916 E srv    load_model: failed to load multimodal model, '/nope/mm.gguf'
0.00.012.919 I srv    operator(): operator(): cleaning up before exit...
0.00.015.373 modelswap engine: cannot serve 't.gguf': Failed to init server, please check the input params.
E srv          init: exiting due to model loading error
"""
EXL = b"""\
Traceback (most recent call last):
  File "/opt/tabbyAPI/main.py", line 100, in <module>
    raise FileNotFoundError("Model path does not exist")
  File "/opt/tabbyAPI/backends/x.py", line 1, in load
    import torch
ValueError: the quantisation of this model is something new
"""
DOCKER = b"""\
Unable to find image 'vlm/vllm:latest' locally
docker: Error response from daemon: pull access denied for vlm/vllm, repository does not exist or may require 'docker login': denied: requested access to the resource is denied

Run 'docker run --help' for more information
"""
ARGPARSE = b"""\
usage: api_server.py [-h] [--host HOST] [--port PORT] [--file-not-found-ok]
                     [--out-of-memory-policy {kill,retry}] [--unknown-option X]
api_server.py: error: unrecognized arguments: --foo
"""
SGLANG = b"""\
[2026-03-01 10:00:00 TP0] Load weight begin. avail mem=23.00 GB
[2026-03-01 10:00:09 TP0] Scheduler hit an exception: Traceback (most recent call last):
  File "/sgl/scheduler.py", line 1, in run_scheduler_process
    raise RuntimeError("Not enough memory. Please try to increase --mem-fraction-static.")
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.00 GiB.

[2026-03-01 10:00:09] Received sigquit from a child process. It usually means the child failed.
"""
COLOURED = b"\x1b[31mERROR\x1b[0m:    \x1b]0;title\x07Address already in use\x1b[0m\r\n\x1b[2K"
PROGRESS = b"loading 1%\rloading 50%\rerror: the disk is gone\rx"


@pytest.mark.parametrize(
    ("output", "cause", "expected"),
    [
        (
            MMPROJ,
            Cause.FILE_NOT_FOUND,
            "gguf_init_from_file: failed to open GGUF file '/nope/mm.gguf' (No such file or directory)",
        ),
        (EXL, None, "ValueError: the quantisation of this model is something new"),
        (
            DOCKER,
            Cause.CONTAINER,
            (
                "docker: Error response from daemon: pull access denied for vlm/vllm, repository does not "
                "exist or may require 'docker login': denied: requested access to the resource is denied"
            ),
        ),
        (
            ARGPARSE,
            Cause.UNKNOWN_ARGUMENT,
            "api_server.py: error: unrecognized arguments: --foo",
        ),
        (
            SGLANG,
            Cause.OUT_OF_MEMORY,
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.00 GiB.",
        ),
        (COLOURED, Cause.ADDRESS_IN_USE, "ERROR: Address already in use"),
        (PROGRESS, None, "error: the disk is gone"),
        (b"starting\nall is well\n", None, "all is well"),
        (b"starting\nbye", None, "bye"),
    ],
)
def test_whole_outputs(output: bytes, cause: Cause | None, expected: str) -> None:
    """The root stands before what follows from it; source lines and help texts do not count."""
    tail = OutputTail()
    for start in range(0, len(output), 7):  # in pieces, as pipes give it
        tail.add(output[start : start + 7])
    found = diagnose(tail.lines())
    assert found is not None
    assert (found.cause, found.line) == (cause, expected)


def test_a_long_help_text_hides_nothing() -> None:
    """The whole help of an old llama-server behind the error, with words of every cause in it."""
    option = (
        "-x,    --no-memory N      cannot be out of memory, file not found: error (default: 0)\n"
    )
    tail = OutputTail()
    tail.add(b"error: unknown argument: --foo\nusage: llama-server [options]\n")
    tail.add((option + " " * 26 + "error: failed to open file, invalid argument\n").encode() * 400)
    found = diagnose(tail.lines())
    assert found is not None
    assert (found.cause, found.line) == (Cause.UNKNOWN_ARGUMENT, "error: unknown argument: --foo")


def test_nothing_said() -> None:
    """A server that printed nothing, or only notes of ours, says nothing."""
    tail = OutputTail()
    tail.add(b"\n\r\n  \n[modelswap: 12 bytes of output dropped]\n")
    assert diagnose(tail.lines()) is None


@pytest.mark.parametrize(
    "line",
    [
        "error: unrecognized arguments: --foo --api-key SECRETVALUE --bar",
        "error: unrecognized arguments: --hf-token=SECRETVALUE",
        "error: bad header Authorization: Bearer SECRETVALUE",
        "error: cannot fetch https://me:SECRETVALUE@example.org/x",
        'error: {"api_key": "SECRETVALUE"}',
        "error: HF_TOKEN=SECRETVALUE is not valid",
        "error: invalid token hf_SECRETVALUE",
    ],
)
def test_credentials_are_masked(line: str) -> None:
    """What stands where a credential stands is not shown."""
    found = diagnose([line])
    assert found is not None
    assert "SECRETVALUE" not in found.line
    assert "***" in found.line


def test_secrets_of_a_command() -> None:
    """Values behind such flags, and of variables with such names, are known by value."""
    argv = (
        "server",
        "--api-key",
        "sesame",
        "--hf-token=hf_x1",
        "--port",
        "9",
        "--tokens",
        "-t",
        "4",
    )
    env = ("HF_TOKEN=hf_other", "MY_API_KEY=abc", "PATH=/bin", "EMPTY_KEY=")
    assert diagnosis.secrets_in(argv, env) == ["hf_other", "sesame", "hf_x1", "abc"]
    assert diagnosis.secrets_in(("server", "--api-key"), ()) == []


def test_words_about_tokens_stay() -> None:
    """A sentence about tokens or keys is not taken for one."""
    said = "error: unknown token type in tokenizer; no API key is set"
    assert diagnosis.presentable(said) == said


def test_no_half_of_a_word_is_shown() -> None:
    """A secret that the plan knows is masked later, and only whole."""
    secret = "s3cr3tsecret"
    for before in range(diagnosis.MAX_LENGTH - 30, diagnosis.MAX_LENGTH):
        line = diagnosis.presentable(f"error: {'x ' * (before // 2)}{secret} more")
        assert secret in line or "s3" not in line
        assert len(line) <= diagnosis.MAX_LENGTH


def test_bounds() -> None:
    """Any amount of output costs bounded memory and time, and gives a short line."""
    tail = OutputTail()
    for _ in range(64):
        tail.add(b"error: " + b"a-" * 50_000 + b"\xff\x00")
    began = time.thread_time()
    found = diagnose(tail.lines())
    assert found is not None
    assert len(found.line) <= diagnosis.MAX_LENGTH
    assert time.thread_time() - began < 2


@given(st.data())
def test_signs_are_in_every_line_that_a_rule_fits(data: st.DataObject) -> None:
    """The quick look for a sign never hides a line from its rule."""
    for rule in symptoms.RULES:
        line = data.draw(
            st.from_regex(
                re.compile(rule.pattern.pattern, rule.pattern.flags),
                alphabet=st.characters(codec="ascii"),
            )
        )
        assert rule.fits(line, line.lower()), (rule.cause, line)
