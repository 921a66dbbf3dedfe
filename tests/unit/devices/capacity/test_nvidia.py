"""The memory of NVIDIA's GPUs, from recorded answers of NVML."""

from __future__ import annotations

import os

import pytest

from modelswap.devices.capacity.nvidia import NvidiaMemory
from modelswap.devices.memory import DeviceMemory, Holder
from modelswap.devices.nvml import Nvml
from modelswap.procfs import name_of
from support.recorded_nvml import (
    GIB,
    GPU_IS_LOST,
    H100,
    H100_RESERVED,
    H100_TOTAL,
    NOT_SUPPORTED,
    Card,
    RecordedNvml,
    idle_h100,
)

ME = os.getpid()
ELSEWHERE = 999_999_999
"""A process that this machine does not list: of another container."""


def nvidia(*cards: Card | None, names: dict[int, str] | None = None) -> NvidiaMemory:
    return NvidiaMemory(Nvml(RecordedNvml(*cards, names=names)))


@pytest.fixture(params=["machine", "container"])
def where(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    namespace = "pid:[4026531836]" if request.param == "machine" else "pid:[4026532284]"
    monkeypatch.setattr("modelswap.devices.capacity.nvidia.procfs.pid_namespace", lambda: namespace)
    return str(request.param)


def test_an_idle_h100() -> None:
    """What the driver keeps for itself is not free."""
    assert nvidia(idle_h100()).read() == [
        DeviceMemory("gpu0", H100, H100_TOTAL, H100_TOTAL - H100_RESERVED, (), "GPU-6a0b", "NVIDIA")
    ]


def test_two_gpus_with_processes_of_others() -> None:
    """Each device lists its own processes, the largest first; one of both kinds counts once."""
    first = Card(
        "GeForce RTX 3090", "GPU-a", 24 * GIB, 13 * GIB,
        compute={ELSEWHERE: 9 * GIB, ME: 3 * GIB}, graphics={ME: 4 * GIB, 1: 64 << 20},
    )  # fmt: skip
    second = Card("GeForce RTX 4090", "GPU-b", 24 * GIB, 1 * GIB)
    names = {ELSEWHERE: "/usr/bin/vllm"}
    one, two = nvidia(first, second, names=names).read()
    assert one.holders == (
        Holder(0, "vllm", 9 * GIB), Holder(ME, name_of(ME), 4 * GIB), Holder(1, name_of(1), 64 << 20),
    )  # fmt: skip
    assert (two.id, two.key, two.free, two.holders) == ("gpu1", "GPU-b", 23 * GIB, ())


def test_held(where: str) -> None:
    """A process of ours in one table shows that the tables can be trusted, in a container, too."""
    first = idle_h100("GPU-a", compute={ME: 3 * GIB, 1: GIB})
    assert where
    assert nvidia(first, idle_h100("GPU-b")).held_by([ME, 1, 2]) == {"gpu0": 4 * GIB, "gpu1": 0}


def test_held_by_a_process_that_is_in_no_table(where: str) -> None:
    """On the machine itself it holds nothing; in a container its figure may only be missing."""
    memory = nvidia(idle_h100(compute={ELSEWHERE: GIB}))
    assert memory.held_by([ME]) == ({"gpu0": 0} if where == "machine" else {})


def test_figures_that_the_driver_does_not_tell(where: str) -> None:
    """With Windows' driver model the bytes of processes are N/A: that device tells nothing."""
    assert where
    windows = idle_h100("GPU-a", compute={ME: None}, graphics={ME: None})
    memory = nvidia(windows, idle_h100("GPU-b", compute={ME: GIB}))
    assert memory.held_by([ME]) == {"gpu1": GIB}
    assert memory.read()[0].holders == ()


def test_mig() -> None:
    """With MIG each instance is a device; the card itself is none, and numbers go on after them."""
    small = Card("NVIDIA A100 MIG 1g.5gb", "MIG-1", 5 * GIB, GIB, compute={ME: GIB})
    large = Card("NVIDIA A100 MIG 3g.20gb", "MIG-2", 20 * GIB, 0)
    sliced = Card("NVIDIA A100", "GPU-a", 40 * GIB, GIB, instances=[None, small, large])
    memory = nvidia(sliced, idle_h100("GPU-b"))
    assert [(device.id, device.key) for device in memory.read()] == [
        ("gpu0", "MIG-1"), ("gpu1", "MIG-2"), ("gpu2", "GPU-b"),
    ]  # fmt: skip
    assert memory.held_by([ME]) == {"gpu0": GIB, "gpu1": 0, "gpu2": 0}
    assert memory.count == 3


def test_a_card_that_shares_the_machine_s_memory() -> None:
    """It tells no memory of its own, and is no device; it keeps its number."""
    memory = nvidia(Card("NVIDIA GB10", "GPU-a", 0, 0, memory_error=NOT_SUPPORTED))
    assert memory.read() == []
    assert memory.count == 1


def test_a_card_that_was_lost_at_the_start() -> None:
    """The others keep their numbers."""
    assert [device.id for device in nvidia(None, idle_h100()).read()] == ["gpu1"]
    assert nvidia(None).count == nvidia().count == 0


def test_a_card_that_is_lost_later() -> None:
    """It is not taken for absent: the reading fails, and says which card."""
    with pytest.raises(OSError, match=r"gpu1 \(NVIDIA A100\) does not answer"):
        nvidia(idle_h100(), Card("NVIDIA A100", "GPU-b", 0, 0, memory_error=GPU_IS_LOST)).read()
