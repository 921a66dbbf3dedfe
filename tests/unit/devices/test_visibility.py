"""Which GPUs a server is shown, and when that is left to its command."""

from __future__ import annotations

import pytest

from modelswap.devices.memory import DeviceMemory
from modelswap.devices.visibility import visible_environment


def gpu(number: int, vendor: str, key: str) -> DeviceMemory:
    return DeviceMemory(f"gpu{number}", "card", 1, 1, (), key, vendor)


NVIDIA = (gpu(0, "NVIDIA", "GPU-aa"), gpu(1, "NVIDIA", "GPU-bb"))
AMD = (gpu(2, "AMD", "GPU-cc"), gpu(3, "AMD", "GPU-dd"))
COMMAND = ("llama-server", "-m", "/m.gguf", "--port", "5800", "-ngl", "99")


def test_the_chosen_gpus_by_uuid() -> None:
    """In the order of the choice; ROCm's second variable counts among what the first one shows."""
    assert visible_environment(NVIDIA[1:], COMMAND) == ("CUDA_VISIBLE_DEVICES=GPU-bb",)
    assert visible_environment(NVIDIA[::-1], COMMAND) == ("CUDA_VISIBLE_DEVICES=GPU-bb,GPU-aa",)
    assert visible_environment(AMD, COMMAND) == (
        "ROCR_VISIBLE_DEVICES=GPU-cc,GPU-dd",
        "HIP_VISIBLE_DEVICES=0,1",
    )


def test_each_vendor_has_its_variable() -> None:
    """A choice of GPUs of two vendors sets both."""
    assert visible_environment((NVIDIA[0], AMD[1]), COMMAND) == (
        "CUDA_VISIBLE_DEVICES=GPU-aa",
        "ROCR_VISIBLE_DEVICES=GPU-dd",
        "HIP_VISIBLE_DEVICES=0",
    )


def test_nothing_to_say() -> None:
    """No choice, or a device that no variable can name."""
    assert visible_environment((), COMMAND) == ()
    assert visible_environment((gpu(0, "NVIDIA", ""), gpu(1, "Apple", "x")), COMMAND) == ()


@pytest.mark.parametrize(
    ("argv", "env"),
    [
        (("env", "CUDA_VISIBLE_DEVICES=1", *COMMAND), ()),
        (("sh", "-c", "HIP_VISIBLE_DEVICES=0 exec llama-server"), ()),
        ((*COMMAND, "--device", "CUDA1"), ()),
        ((*COMMAND, "--device=none"), ()),
        ((*COMMAND, "--override", "rpc:CUDA0"), ()),
        ((*COMMAND, "-ts", "3,1"), ()),
        ((*COMMAND, "--main-gpu", "1"), ()),
        (("docker", "run", "--gpus", "device=1", "image"), ()),
        (COMMAND, ("CUDA_VISIBLE_DEVICES=0",)),
        (COMMAND, ("GGML_VK_VISIBLE_DEVICES=0",)),
    ],
)
def test_a_command_that_chooses_is_left_alone(argv: tuple[str, ...], env: tuple[str, ...]) -> None:
    """It numbers the GPUs that it sees, so none is hidden from it."""
    assert visible_environment(NVIDIA[:1], argv, env) == ()
