"""Writes the counters and the newest samples as Prometheus text.

Guarantees: llama-swap's host and GPU families keep their names. Other names begin with `modelswap_`,
use base units, and end in `_total` when they only grow. Not for the loop's thread; it only reads.
Does not: get imported before the first scrape, because prometheus_client is slow to import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from prometheus_client import generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)

from modelswap.deferred import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client.metrics_core import Metric

    from .counters import Counters, Histogram, ModelCounters
    from .performance import GpuSample, HostSample

STATES: Final = ("stopped", "starting", "ready", "stopping")
_MIB: Final = 1 << 20  # bytes
_REQUEST: Final = ("model", "path", "status")

Labels = tuple[str, ...]
Samples = list[tuple[Labels, float]]


@dataclass(frozen=True, slots=True)
class Scrape:
    counters: Counters
    states: list[ModelCounters]
    host: HostSample | None
    gpus: list[GpuSample]
    version: str
    in_flight: int

    def text(self) -> bytes:
        return generate_latest(self)

    def collect(self) -> Iterable[Metric]:
        if self.host is not None:
            yield from _host(self.host)
        if self.gpus:
            yield from _gpu(self.gpus)
        yield from self._program()
        yield from self._requests()
        yield from self._models()

    def _program(self) -> Iterator[Metric]:
        counters = self.counters
        version: Samples = [((self.version,), 1)]
        yield _gauge("modelswap_build_info", "The running version", ("version",), version)
        in_flight: Samples = [((), self.in_flight)]
        yield _gauge("modelswap_in_flight", "Requests running or waiting now", (), in_flight)
        if counters.connections is not None:
            number = counters.connections()
            yield _gauge("modelswap_connections", "Open client connections", (), [((), number)])
        drops = [((where,), count()) for where, count in counters.drops.items()]
        lost = "Items of observation lost to a full queue or disk"
        yield _counter("modelswap_dropped", lost, ("where",), drops)

    def _requests(self) -> Iterator[Metric]:
        counters = self.counters
        series = [((m, p, str(s)), v) for (m, p, s), v in list(counters.requests.items())]
        yield _counter(
            "modelswap_requests", "Finished requests", _REQUEST, [(k, v.count) for k, v in series]
        )
        yield _histogram(
            "modelswap_request_duration_seconds",
            "From the request's arrival to the answer's last byte",
            _REQUEST,
            [(k, v.duration) for k, v in series],
        )
        yield _histogram(
            "modelswap_time_to_first_token_seconds",
            "From the request's arrival to the first byte of the answer's body",
            _REQUEST,
            [(k, v.ttft) for k, v in series if v.ttft is not None],
        )
        text = "Tokens by kind: prompt, cached, generated, drafted, accepted"
        yield _counter("modelswap_tokens", text, ("model", "kind"), counters.tokens.items())

    def _models(self) -> Iterator[Metric]:
        counters, states = self.counters, self.states
        model: Labels = ("model",)
        waiting: Samples = [((s.model,), s.waiting) for s in states]
        yield _gauge("modelswap_queue_length", "Requests waiting for their model", model, waiting)
        served: Samples = [((s.model,), s.in_flight) for s in states]
        yield _gauge("modelswap_model_in_flight", "Requests a model serves now", model, served)
        yield _gauge(
            "modelswap_model_state",
            "1 for the state a model is in",
            ("model", "state"),
            [((s.model, state), int(s.state == state)) for s in states for state in STATES],
        )
        yield _histogram(
            "modelswap_queue_wait_seconds",
            "How long requests waited for their model",
            model,
            [((k,), v) for k, v in counters.waits.items()],
        )
        yield _histogram(
            "modelswap_load_duration_seconds",
            "From the start of a model server until it was ready",
            model,
            [((k,), v) for k, v in list(counters.loads.items())],
        )
        yield _counter(
            "modelswap_swaps", "Starts that made another model leave", (), [((), counters.swaps)]
        )
        yield _counter(
            "modelswap_decisions",
            "Decisions to start a model, by who asked and how they ended",
            ("asked_by", "ending"),
            list(counters.decisions.items()),
        )
        evictions = [((k,), v) for k, v in list(counters.evictions.items())]
        text = "How often a model had to leave for another"
        yield _counter("modelswap_evictions", text, model, evictions)
        failures = [((k,), v) for k, v in list(counters.load_failures.items())]
        text = "Model servers that did not become ready"
        yield _counter("modelswap_load_failures", text, model, failures)
        pulls = [((k,), v) for k, v in list(counters.pulls.items())]
        yield _counter("modelswap_pulls", "Pulls of models that ended", ("result",), pulls)
        pulled: Samples = [((), counters.pulled_bytes)]
        yield _counter("modelswap_pulled_bytes", "Bytes of models that were pulled", (), pulled)


def _gauge(name: str, text: str, labels: Labels, samples: Samples) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, number in samples:
        family.add_metric(values, number)
    return family


def _counter(name: str, text: str, labels: Labels, samples: Iterable[tuple[Any, float]]) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for values, number in samples:
        family.add_metric(values, number)
    return family


def _histogram(
    name: str, text: str, labels: Labels, samples: Iterable[tuple[Labels, Histogram]]
) -> Metric:
    family = HistogramMetricFamily(name, text, labels=labels)
    for values, histogram in samples:
        buckets: list[tuple[str, float]] = []
        total = 0
        bounds = (*map(repr, histogram.bounds), "+Inf")
        for bound, count in zip(bounds, histogram.counts, strict=True):
            total += count
            buckets.append((bound, total))
        family.add_metric(values, buckets, histogram.sum)
    return family


def _host(host: HostSample) -> Iterator[Metric]:
    cores: Samples = [((str(core),), used) for core, used in enumerate(host.cpu_util_per_core)]
    yield _gauge("llamaswap_cpu_util_percent", "CPU utilisation per core", ("core",), cores)
    for name, text, mib in (
        ("memory_total", "Memory installed", host.mem_total_mb),
        ("memory_used", "Memory in use", host.mem_used_mb),
        ("memory_free", "Memory free", host.mem_free_mb),
        ("swap_total", "Swap space", host.swap_total_mb),
        ("swap_used", "Swap space in use", host.swap_used_mb),
    ):
        yield _gauge(f"llamaswap_{name}_bytes", text, (), [((), mib * _MIB)])
    averages = {"1m": host.load_avg_1, "5m": host.load_avg_5, "15m": host.load_avg_15}
    loads: Samples = [((interval,), load) for interval, load in averages.items()]
    yield _gauge("llamaswap_load_average", "Load average", ("interval",), loads)
    traffic: Samples = []
    for link in host.net_io or ():
        traffic += [((link.name, "recv"), link.bytes_recv), ((link.name, "sent"), link.bytes_sent)]
    if traffic:
        labels = "interface", "direction"
        yield _counter("llamaswap_network_bytes", "Bytes over the network", labels, traffic)


_GPU: Final = (
    ("temperature_celsius", "GPU temperature", "temp_c", 1),
    ("vram_temperature_celsius", "GPU memory temperature", "vram_temp_c", 1),
    ("util_percent", "GPU utilisation", "gpu_util_pct", 1),
    ("memory_util_percent", "GPU memory utilisation", "mem_util_pct", 1),
    ("memory_used_bytes", "GPU memory in use", "mem_used_mb", _MIB),
    ("memory_total_bytes", "GPU memory installed", "mem_total_mb", _MIB),
    ("fan_speed_percent", "GPU fan speed", "fan_speed_pct", 1),
    ("power_draw_watts", "GPU power draw", "power_draw_w", 1),
)


def _gpu(gpus: list[GpuSample]) -> Iterator[Metric]:
    for name, text, attribute, factor in _GPU:
        family = GaugeMetricFamily(f"llamaswap_gpu_{name}", text)
        for gpu in gpus:
            labels = {"id": str(gpu.id), "name": gpu.name}
            if gpu.uuid:
                labels["uuid"] = gpu.uuid
            family.add_sample(family.name, labels, getattr(gpu, attribute) * factor)
        yield family
