"""Which GPUs the environment hides."""

from __future__ import annotations

import pytest

from modelswap.devices.capacity.visible import visible
from modelswap.devices.memory import DeviceMemory

RAM = DeviceMemory("ram", "memory", 8, 8)
CUDA = [DeviceMemory(f"gpu{n}", "H100", 8, 8, (), f"GPU-{n}a-b", "NVIDIA") for n in range(3)]
ROCM = [DeviceMemory(f"gpu{n + 3}", "MI300X", 8, 8, (), f"GPU-{n}c", "AMD") for n in range(2)]
ALL = (RAM, *CUDA, *ROCM)


@pytest.mark.parametrize(
    ("environ", "shown"),
    [
        ({}, "ram gpu0 gpu1 gpu2 gpu3 gpu4"),
        ({"CUDA_VISIBLE_DEVICES": "1"}, "ram gpu1 gpu3 gpu4"),
        ({"CUDA_VISIBLE_DEVICES": "GPU-2, 0"}, "ram gpu0 gpu2 gpu3 gpu4"),
        ({"CUDA_VISIBLE_DEVICES": "0,-1,1"}, "ram gpu0 gpu3 gpu4"),
        ({"CUDA_VISIBLE_DEVICES": "7"}, "ram gpu3 gpu4"),
        ({"CUDA_VISIBLE_DEVICES": ""}, "ram gpu3 gpu4"),
        ({"CUDA_VISIBLE_DEVICES": "GPU-"}, "ram gpu3 gpu4"),
        ({"ROCR_VISIBLE_DEVICES": "GPU-1c", "HIP_VISIBLE_DEVICES": "0"}, "ram gpu0 gpu1 gpu2 gpu4"),
        ({"HIP_VISIBLE_DEVICES": "1,0"}, "ram gpu0 gpu1 gpu2 gpu3 gpu4"),
    ],
)
def test_visible(environ: dict[str, str], shown: str) -> None:
    """Numbers, UUIDs and their beginnings name GPUs of the vendor; the first that names none ends the list."""
    assert [device.id for device in visible(ALL, environ)] == shown.split()
