"""Which server a command starts, and on which GPUs."""

from __future__ import annotations

import shlex

import pytest

from modelswap.memory.prediction.command import (
    Server,
    gpus_of,
    server_of,
    variables_of,
    visible_gpus,
)
from modelswap.memory.prediction.options import read_options


@pytest.mark.parametrize(
    ("command", "server"),
    [
        ("llama-server -m x", Server.LLAMA_SERVER),
        ("/opt/llama.cpp/build/bin/llama-server -m x", Server.LLAMA_SERVER),
        (r"'C:\llama\LLAMA-SERVER.EXE' -m x", Server.LLAMA_SERVER),
        ("llama-server-cuda -m x", Server.LLAMA_SERVER),
        ("llama serve -m x", Server.LLAMA_SERVER),
        ("./model.llamafile -m x", Server.LLAMA_SERVER),
        ("env A=1 nice -n 5 llama-server -m x", Server.LLAMA_SERVER),
        ("sh -c 'exec llama-server -m x'", Server.LLAMA_SERVER),
        ("python -m modelswap.engine -m x", Server.ENGINE),
        ("vllm serve -m x", Server.VLLM),
        ("python3 -m vllm.entrypoints.openai.api_server -m x", Server.VLLM),
        ("python3 -m sglang.launch_server -m x", Server.SGLANG),
        ("whisper-server -m x", Server.WHISPER),
        ("sd-server -m x", Server.DIFFUSION),
    ],
)
def test_a_server_is_known_by_its_program(command: str, server: Server) -> None:
    """Wherever it lies, and behind programs that start it."""
    assert server_of(shlex.split(command)) == (server, ["-m", "x"])


@pytest.mark.parametrize(
    "command", ["", "ollama serve", "llama", "python server.py", "python modelswap.engine", "vllm"]
)
def test_other_programs_are_not_known(command: str) -> None:
    """Nothing is said about them."""
    assert server_of(command.split()) is None


@pytest.mark.parametrize(
    ("env", "gpus"),
    [
        ({}, None),
        ({"CUDA_VISIBLE_DEVICES": "1,0,1"}, ("gpu1", "gpu0")),
        ({"CUDA_VISIBLE_DEVICES": ""}, ()),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, ()),
        ({"CUDA_VISIBLE_DEVICES": "2,-1,0"}, ("gpu2",)),
        ({"CUDA_VISIBLE_DEVICES": "GPU-5d8"}, None),
        ({"CUDA_VISIBLE_DEVICES": "9999"}, None),
        ({"HIP_VISIBLE_DEVICES": "3"}, ("gpu3",)),
    ],
)
def test_the_environment_says_which_gpus_are_seen(
    env: dict[str, str], gpus: tuple[str, ...] | None
) -> None:
    """By number; other names cannot be told apart."""
    assert visible_gpus(env) == gpus


@pytest.mark.parametrize(
    ("command", "visible", "gpus"),
    [
        ("", None, None),
        ("", ("gpu2",), ("gpu2",)),
        ("--device none", ("gpu2",), ()),
        ("--device CUDA1,CUDA0", None, ("gpu1", "gpu0")),
        ("--device CUDA1", ("gpu4", "gpu7"), ("gpu7",)),
        ("--device CUDA5", ("gpu4",), ()),
        ("--device Metal", None, None),
        ("-sm none -mg 1", None, ("gpu1",)),
    ],
)
def test_the_command_chooses_among_the_visible_ones(
    command: str, visible: tuple[str, ...] | None, gpus: tuple[str, ...] | None
) -> None:
    """`--device` and `--main-gpu` count from the first visible GPU on."""
    options = read_options(command.split(), {}, is_llama_server=True)
    assert gpus_of(options, visible) == gpus  # type: ignore[arg-type] # texts are device ids here


def test_an_environment_is_a_mapping_or_a_list() -> None:
    """A configuration has texts."""
    assert variables_of({"A": "1"}) == variables_of(["A=1"]) == {"A": "1"}
    assert variables_of(["A=b=c", "B"]) == {"A": "b=c", "B": ""}
