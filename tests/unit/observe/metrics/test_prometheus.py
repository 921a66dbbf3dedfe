"""The metrics and their text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from msgspec import structs
from prometheus_client.parser import text_string_to_metric_families

from modelswap.observe.decisions.decision import Decision, Evicted
from modelswap.observe.metrics.counters import MOST_SERIES, ModelCounters
from modelswap.observe.metrics.host import Processors
from modelswap.observe.metrics.performance import GpuSample, NetworkInterface, host_sample
from modelswap.observe.metrics.prometheus import Metrics
from modelswap.observe.usage.usage import Tokens
from modelswap.pull.progress import PullFailure, PullPhase, PullProgress
from modelswap.units import Bytes

TOKENS = Tokens(cached=2, drafted=5, accepted=3, input=10, output=4, duration_ms=1500, ttft_ms=300)
GPU = GpuSample(
    timestamp="", id=0, name="Card", uuid="", temp_c=40, vram_temp_c=0, gpu_util_pct=5.0,
    mem_util_pct=10.0, mem_used_mb=1024, mem_total_mb=8192, fan_speed_pct=30.0, power_draw_w=55.5,
)  # fmt: skip


@dataclass
class Completed:
    """A completed request."""

    model: str = "m"
    status: int = 200
    queue_ms: int = 20
    tokens: Tokens = TOKENS
    ttft_ms: int = 300
    began: float = 0.0
    ended: float = 1.0
    body: None = None

    @property
    def resolved(self) -> Any:
        return SimpleNamespace(model=self.model, stream=True)

    @property
    def context(self) -> Any:
        return SimpleNamespace(path="/v1/chat/completions")


def families(metrics: Metrics, gpus: list[GpuSample] | None = None) -> dict[str, Any]:
    host = structs.replace(host_sample("", Processors()), net_io=[NetworkInterface("eth0", 1, 2)])
    text = metrics.text(
        [ModelCounters('m"\n', "ready", 1, 2)], host, gpus or [], in_flight=3
    ).decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def test_metrics_are_prometheus_text() -> None:
    """The official parser reads every family, and the numbers are what was counted."""
    metrics = Metrics(version="1")
    metrics.watch_drops(activity=lambda: 4)
    metrics.requests([Completed(), Completed("unknown", 404, -1), Completed()])
    metrics.requests([Completed()])
    metrics.phase("m", "starting", 10.0)
    metrics.phase("m", "ready", 12.0)
    metrics.phase("m", "stopping", 13.0)
    metrics.phase("n", "starting", 14.0)
    metrics.phase("n", "stopped", 15.0)
    found = families(metrics, [GPU])
    requests = {
        tuple(s.labels.values()): s.value
        for s in found["modelswap_requests"].samples
        if s.name.endswith("_total")
    }
    path = "/v1/chat/completions"
    assert requests == {("m", path, "200"): 3, ("", path, "404"): 1}
    tokens = {
        s.labels["kind"]: s.value
        for s in found["modelswap_tokens"].samples
        if s.labels["model"] == "m"
    }
    assert tokens == {"prompt": 30, "generated": 12, "cached": 6, "drafted": 15, "accepted": 9}
    duration = found["modelswap_request_duration_seconds"].samples
    assert [s.value for s in duration if s.labels.get("le") == "2.5"] == [3, 1]
    assert [s.value for s in found["modelswap_swaps"].samples] == [1]
    assert [s.value for s in found["modelswap_load_failures"].samples] == [1]
    assert found["modelswap_queue_length"].samples[0].labels == {"model": 'm"\n'}
    assert found["modelswap_in_flight"].samples[0].value == 3
    assert found["modelswap_dropped"].samples[0].value == 4
    assert found["llamaswap_gpu_memory_total_bytes"].samples[0].value == 8192 << 20
    assert found["llamaswap_gpu_power_draw_watts"].samples[0].labels == {"id": "0", "name": "Card"}
    assert found["llamaswap_memory_total_bytes"].samples[0].value > 0


def test_invented_labels_are_bounded() -> None:
    """The number of series stays bounded however many names clients invent."""
    metrics = Metrics()
    for number in range(MOST_SERIES + 500):
        metrics.requests([Completed(f"m{number}", 500)])
    assert len(metrics.counters.requests) <= MOST_SERIES + 1
    assert len(metrics.counters.waits) <= MOST_SERIES + 1


def test_the_dashboard_uses_metrics_that_exist() -> None:
    """Every metric in the Grafana dashboard is one that the program exposes."""
    metrics = Metrics(version="1")
    metrics.requests([Completed()])
    metrics.phase("m", "starting", 1.0)
    metrics.phase("m", "ready", 2.0)
    metrics.phase("n", "starting", 3.0)
    metrics.phase("n", "stopped", 4.0)
    metrics.watch_drops(activity=lambda: 0)
    exposed = {
        sample.name for family in families(metrics, [GPU]).values() for sample in family.samples
    }
    dashboard = (Path(__file__).parents[4] / "deploy/grafana/modelswap.json").read_text()
    used = set(re.findall(r"(?:modelswap|llamaswap)_[a-z_]+", dashboard))
    assert used - exposed == set()
    assert len(used) > 20


def test_a_load_that_took_too_long_is_a_failure() -> None:
    """It is counted once, when it is stopped; a cancelled load is no failure and no swap."""
    metrics = Metrics()
    for model, failed in (("slow", True), ("unwanted", False)):
        metrics.phase(model, "starting", 1.0)
        metrics.phase(model, "stopping", 2.0, failed=failed)
        metrics.phase(model, "stopped", 3.0, failed=failed)
    assert metrics.counters.load_failures == {"slow": 1}
    assert metrics.counters.swaps == 0


def test_pulls() -> None:
    """What pulls receive is added up while they run; their ends are counted by result."""
    metrics = Metrics()

    def step(phase: PullPhase, received: int, failure: PullFailure | None = None) -> None:
        metrics.pull(
            PullProgress(source="hf:o/r", phase=phase, received=Bytes(received), failure=failure)
        )

    step(PullPhase.DOWNLOADING, 5)
    step(PullPhase.DOWNLOADING, 7)
    step(PullPhase.FAILED, 9, PullFailure.NETWORK)
    step(PullPhase.DOWNLOADING, 2)
    step(PullPhase.FINISHED, 3)
    text = metrics.text([], None, [], in_flight=0).decode()
    assert "modelswap_pulled_bytes_total 12.0" in text
    assert 'modelswap_pulls_total{result="network"} 1.0' in text
    assert 'modelswap_pulls_total{result="finished"} 1.0' in text


def test_decisions_and_evictions_are_counted() -> None:
    """By who asked and how they ended; by the model that left, within a bound."""
    metrics = Metrics()
    for number in range(MOST_SERIES + 2):
        evicted = [Evicted(model=f"m{number}", how="stop"), Evicted(model="m0", how="stop")]
        decided = Decision(id=1, model="a", asker="request", ending="ready", evicted=evicted)
        metrics.decided(decided)
    found = families(metrics)
    assert found["modelswap_decisions"].samples[0].labels == {
        "asked_by": "request",
        "ending": "ready",
    }
    assert found["modelswap_decisions"].samples[0].value == MOST_SERIES + 2
    counts = {s.labels["model"]: s.value for s in found["modelswap_evictions"].samples}
    assert (counts["m0"], counts["m1"], counts["other"]) == (MOST_SERIES + 3, 1, 2)
