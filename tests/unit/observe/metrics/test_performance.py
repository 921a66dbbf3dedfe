"""Samples of host and GPUs."""

from __future__ import annotations

from typing import Any

from modelswap.devices.gpus import Gpus
from modelswap.observe.metrics.performance import Performance
from modelswap.units import Seconds


class NoGpus(Gpus):
    def read(self) -> list[Any]:
        return []


def test_newer_samples_are_reported() -> None:
    """Only newer samples are reported; an empty series is null, or a list when a time is given."""
    performance = Performance(every=Seconds(5.0), gpus=NoGpus())
    assert performance.report(None) == {"enabled": True, "gpu_stats": None, "sys_stats": None}
    performance.sample()
    report: Any = performance.report(0)
    assert (len(report["sys_stats"]), report["gpu_stats"]) == (1, [])
    later = performance._hosts[-1][0]
    assert performance.report(later)["sys_stats"] == []


def test_sampling_begins_when_it_is_switched_on() -> None:
    """Off at the start, on by a reload: samples are taken, and the report is enabled."""
    performance = Performance(every=Seconds(5.0), disabled=True, gpus=NoGpus())
    was = performance.enabled
    performance.configure(every=Seconds(5.0), disabled=False)
    try:
        assert (was, performance.enabled) == (False, True)
        assert performance._thread is not None
        assert performance._thread.is_alive()
    finally:
        performance.close()
