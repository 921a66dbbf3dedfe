"""Servers that are no llama.cpp."""

from __future__ import annotations

import pytest

from modelswap.core.placement.policy import DeviceId
from modelswap.memory.prediction.command import Server
from modelswap.memory.prediction.other_servers import by_size, share_of_gpus, value_of
from modelswap.units import Bytes

GIB = 1 << 30
GPUS = {DeviceId(f"gpu{n}"): Bytes(24 * GIB) for n in range(4)}


def shared(
    flags: str, server: Server = Server.VLLM, devices: tuple[DeviceId, ...] = ()
) -> tuple[float, tuple[str, ...]]:
    found = share_of_gpus(server, flags.split(), devices, GPUS)
    assert found is not None
    return round(found.gpu / (24 * GIB), 6), found.devices


@pytest.mark.parametrize(
    ("flags", "share"),
    [
        ("", 0.9),
        ("--gpu-memory-utilization 0.5", 0.5),
        ("--gpu-memory-utilization=0.25", 0.25),
        ("--gpu-memory-utilization 0.5 --gpu-memory-utilization 0.75", 0.75),
        ("--gpu-memory-utilization 7", 0.9),
        ("--gpu-memory-utilization much", 0.9),
        ("--gpu-memory-utilization", 0.9),
        ("--gpu-memory-utilization nan", 0.9),
    ],
)
def test_vllm_reserves_a_share_of_a_gpu(flags: str, share: float) -> None:
    """As its flag says, else nine tenths; on any GPU."""
    assert shared(flags) == (share, ())


def test_sglang_has_its_own_flag() -> None:
    """And its own share without it."""
    assert shared("--mem-fraction-static 0.5", Server.SGLANG)[0] == 0.5
    assert shared("", Server.SGLANG)[0] == 0.88


def test_a_split_takes_the_share_of_each_gpu() -> None:
    """The first ones, or those that it is bound to."""
    assert shared("-tp 2") == (1.8, ("gpu0", "gpu1"))
    assert shared("-tp 2 -pp 2") == (3.6, tuple(GPUS))
    assert shared("-tp 2", devices=(DeviceId("gpu3"), DeviceId("gpu1"))) == (
        1.8,
        ("gpu3", "gpu1"),
    )
    assert shared("-tp lots") == shared("-tp 0") == shared("")


def test_nothing_is_said_without_a_gpu_of_known_size() -> None:
    """A share of what is not known is not known."""
    assert share_of_gpus(Server.VLLM, [], (), {}) is None
    assert share_of_gpus(Server.VLLM, [], (DeviceId("gpu9"),), GPUS) is None


@pytest.mark.parametrize(
    ("file_mib", "memory_mb"), [(75, 273), (142, 388), (466, 852), (1536, 2100), (2970, 3900)]
)
def test_whisper_takes_what_its_readme_says(file_mib: int, memory_mb: int) -> None:
    """Within 15 % of its table: tiny, base, small, medium, large."""
    found = by_size(Server.WHISPER, file_mib << 20, gpus=False)
    assert found.ram / 1e6 == pytest.approx(memory_mb, rel=0.15)
    assert found.gpu == 0


def test_diffusion_is_its_files_and_buffers() -> None:
    """On the GPU, where there is one."""
    found = by_size(Server.DIFFUSION, 2 * GIB, gpus=True)
    assert (found.gpu, found.ram) == (3.5 * GIB, 32 << 20)


def test_the_value_of_a_flag() -> None:
    """Empty where the flag ends the command."""
    assert value_of(["-a", "1", "-b"], ("-a",)) == "1"
    assert value_of(["-a", "1", "-b"], ("-b",)) == ""
