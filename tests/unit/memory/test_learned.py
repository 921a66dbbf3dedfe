"""What one model's runs add up to."""

from __future__ import annotations

from modelswap.core.placement.policy import RAM, DeviceId
from modelswap.memory.learned import KEPT_RUNS, KEPT_TIMES, LearnedNeed
from modelswap.units import Bytes, Seconds

GPU0, GPU1 = DeviceId("gpu0"), DeviceId("gpu1")


def learned(**peaks: int) -> LearnedNeed:
    return LearnedNeed(runs=(peaks,))


def after(need: LearnedNeed, *, is_new_run: bool = True, **peaks: int) -> LearnedNeed:
    found = {DeviceId(device): Bytes(size) for device, size in peaks.items()}
    return need.with_peaks(found, 5.0, is_new_run=is_new_run)


def test_the_larger_figure_stays() -> None:
    """On the same devices a run can only raise the need; it counts once, however often it is stored."""
    found = after(learned(ram=10, gpu0=20), ram=5, gpu0=25)
    found = after(found, ram=11, gpu0=1, is_new_run=False)
    assert (found.peaks, len(found.runs), found.last_seen) == ({"ram": 11, "gpu0": 25}, 2, 5.0)
    assert found.first == {"ram": 5, "gpu0": 25}
    assert (found.on(RAM), found.on(GPU0), found.on(GPU1), found.gpu) == (11, 25, 0, 25)


def test_a_run_that_took_far_too_much_is_forgotten() -> None:
    """After as many others as are kept."""
    found = after(LearnedNeed(), ram=10)
    found = after(found, ram=900, is_new_run=False)
    for _ in range(KEPT_RUNS - 1):
        found = after(found, ram=12)
        assert (found.on(RAM), found.first) == (900, {"ram": 12})
    assert after(found, ram=11).on(RAM) == 12


def test_another_gpu() -> None:
    """The same bytes elsewhere are not counted twice."""
    found = after(learned(ram=10, gpu0=20), ram=5, gpu0=0, gpu1=19)
    assert found.peaks == {"ram": 10, "gpu0": 0, "gpu1": 19}
    assert found.gpu == 19


def test_a_run_whose_gpu_memory_is_not_known() -> None:
    """What was known before of the GPUs stays, and zero is a figure, too."""
    assert after(learned(ram=10, gpu0=20), ram=12).peaks == {"ram": 12, "gpu0": 20}
    assert not learned(ram=1).is_measured_on_gpus
    assert learned(ram=1, gpu0=0).is_measured_on_gpus


def test_a_correction() -> None:
    """A need that was too small is raised until a run was measured on that device."""
    found = learned(ram=10, gpu0=20).with_correction(GPU0, Bytes(24), 7.0)
    found = found.with_correction(GPU0, Bytes(22), 8.0)
    assert (found.on(GPU0), found.gpu, found.last_seen) == (24, 24, 8.0)
    assert found.is_measured_on_gpus
    assert after(found, ram=10).corrected == {"gpu0": 24}
    assert after(found, ram=10, gpu0=21).corrected == {}
    elsewhere = learned(ram=10, gpu1=20).with_correction(GPU0, Bytes(24), 7.0)
    assert elsewhere.gpu == 24


def test_times() -> None:
    """The last few count, by their median, so that one cold start does not move them."""
    need = LearnedNeed()
    assert need.reload is None
    for seconds in (100.0, 2.0, 3.0, 2.0, 90.0, 4.0):
        need = need.with_load(Seconds(seconds), 1.0)
    assert need.loads == (2.0, 3.0, 2.0, 90.0, 4.0)
    assert len(need.loads) == KEPT_TIMES
    assert need.reload == 3.0
    need = need.with_stop(Seconds(1.5), 2.0)
    assert need.reload == 4.5
    assert need.with_stop(Seconds(2.5), 2.0).reload == 5.0
