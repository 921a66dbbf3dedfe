"""What a start that ran out of memory says of the need."""

from __future__ import annotations

import pytest

from modelswap.core.placement.policy import RAM, DeviceId, Need, NeedSource
from modelswap.fleet.memory.learning import shortage
from modelswap.fleet.memory.learning.shortage import MARGIN
from modelswap.units import Bytes

GPU, OTHER = DeviceId("gpu0"), DeviceId("gpu1")
GIB = 1 << 30
CUDA = "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 8192.00 MiB on device 0: cudaMalloc failed: out of memory"


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (CUDA, 8 * GIB),
        ("alloc_tensor_range: failed to allocate CUDA0 buffer of size 8589934592", 8 * GIB),
        (
            "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity",
            5 * GIB // 2,
        ),
        ("failed to allocate 512 MB", 512 << 20),
        ("cudaMalloc failed: out of memory", 0),
        ("std::bad_alloc", 0),
    ],
)
def test_sizes_that_engines_print(text: str, size: int) -> None:
    assert shortage.failed_size(text) == size


def corrected(need: Need, text: str, had: int, most: int) -> dict[DeviceId, Bytes]:
    """Beside 64 GiB of RAM, all free."""
    ram = {RAM: Bytes(64 * GIB)}
    return shortage.corrections(need, text, {**ram, GPU: Bytes(had)}, {**ram, GPU: Bytes(most)})


def movable(size: int) -> Need:
    return Need(movable=Bytes(size), source=NeedSource.PREDICTED)


def test_it_needs_more_than_it_could_have() -> None:
    """What was free was not enough, so the need is above that: another model has to leave."""
    found = corrected(movable(4 * GIB), "cudaMalloc failed: out of memory", 6 * GIB, 24 * GIB)
    assert found == {GPU: 6 * GIB + MARGIN}


def test_it_needs_as_much_as_it_asked_for() -> None:
    assert corrected(movable(GIB), CUDA, 2 * GIB, 24 * GIB) == {GPU: 8 * GIB}


def test_without_a_figure_a_factor() -> None:
    found = corrected(movable(8 * GIB), "cudaMalloc failed: out of memory", GIB, 24 * GIB)
    assert found == {GPU: 10 * GIB}


def test_never_more_than_the_device_has() -> None:
    """A start alone stays possible: the next try may find that other programs have left."""
    assert corrected(movable(8 * GIB), CUDA, 8 * GIB, 9 * GIB) == {GPU: 9 * GIB}
    assert corrected(movable(10 * GIB), CUDA, 8 * GIB, 9 * GIB) == {GPU: 10 * GIB}


def test_a_need_on_a_settled_device() -> None:
    """The GPU's part is raised where the text speaks of a GPU, else that of the machine's memory."""
    need = Need(fixed={RAM: Bytes(GIB), GPU: Bytes(4 * GIB)}, source=NeedSource.DECLARED)
    assert corrected(need, CUDA, 6 * GIB, 24 * GIB) == {GPU: 8 * GIB}
    assert corrected(need, "std::bad_alloc", 6 * GIB, 24 * GIB) == {RAM: 64 * GIB}


def test_without_a_gpu_it_is_the_memory_of_the_machine() -> None:
    need = Need(fixed={RAM: Bytes(GIB)}, source=NeedSource.PREDICTED)
    found = shortage.corrections(need, CUDA, {RAM: Bytes(2 * GIB)}, {RAM: Bytes(16 * GIB)})
    assert found == {RAM: 8 * GIB}


def test_of_an_unknown_need_nothing_is_known() -> None:
    assert corrected(Need(), CUDA, GIB, GIB) == {}
    assert shortage.corrections(movable(5), CUDA, {}, {}) == {}


@pytest.mark.parametrize("had", [3, 0])
def test_on_several_gpus_the_sum_counts(had: int) -> None:
    """It is split as they were free, or alike where none was."""
    free = {GPU: Bytes(had * GIB), OTHER: Bytes(had * GIB)}
    most = {GPU: Bytes(8 * GIB), OTHER: Bytes(8 * GIB)}
    text = "cudaMalloc failed: out of memory"
    found = shortage.corrections(movable(GIB), text, free, most)
    assert found.keys() == {GPU, OTHER}
    assert sum(found.values()) == max(GIB * 5 // 4, 2 * had * GIB + MARGIN)
