"""The event stream, the in-flight list, captures and counters."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prometheus_client.parser import text_string_to_metric_families

from modelswap.devices.gpus import Gpus
from modelswap.observe.activity.inflight import Inflight
from modelswap.observe.captures import KEEP_ALL, STEP, CaptureMask, Captures
from modelswap.observe.events import QUEUE, EventBus, frame
from modelswap.observe.logs.redaction import HeaderMask
from modelswap.observe.metrics.counters import MOST_SERIES, ModelCounters
from modelswap.observe.metrics.performance import GpuSample, Performance
from modelswap.observe.metrics.prometheus import Metrics
from modelswap.observe.usage.usage import Tokens

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from modelswap.observe.logs.redaction import Headers

JSON = ((b"content-type", b"application/json"),)


def parsed(data: bytes) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for block in data.decode().split("\n\n"):
        for line in block.split("\n"):
            if line.startswith("data:"):
                envelope = json.loads(line[5:])
                found.append((envelope["type"], json.loads(envelope["data"])))
    return found


async def following(frames: AsyncIterator[bytes]) -> bytes:
    async with asyncio.timeout(5):
        return await anext(frames)


def test_a_frame_has_the_originals_form() -> None:
    """No space after the colons, the data a JSON document in a string."""
    assert frame("activity", {"id": 7}) == (
        b'event:message\ndata:{"type":"activity","data":"{\\"id\\":7}"}\n\n'
    )


async def test_present_state_then_what_happens() -> None:
    """A client gets the initial sequence, then each event once."""
    bus = EventBus()
    frames = bus.subscribe(
        lambda: [("uiConfig", {}), ("profileChanged", {"active": None})]
    ).frames()
    assert parsed(await following(frames)) == [
        ("uiConfig", {}),
        ("profileChanged", {"active": None}),
    ]
    bus.publish("activity", {"id": 1})
    bus.log("proxy", b"a\n")
    bus.log("upstream", b"x\n")
    bus.log("proxy", b"b\n")
    assert parsed(await following(frames)) == [("activity", {"id": 1})]
    assert parsed(await following(frames)) == [
        ("logData", {"data": "a\nb\n", "source": "proxy"}),
        ("logData", {"data": "x\n", "source": "upstream"}),
    ]
    bus.close()
    assert [piece async for piece in frames] == []
    assert not bus.listening


async def test_a_client_that_comes_back_gets_what_it_missed() -> None:
    """With the last id only the missed events come; with a foreign one the whole state."""
    bus = EventBus()
    first = bus.subscribe(lambda: [("uiConfig", {})])
    last = (await following(first.frames())).decode().rsplit("id:", 1)[1].strip()
    first.close()
    bus.publish("activity", {"id": 1})
    bus.publish("inflight", {}, remember=False)
    again = bus.subscribe(lambda: [("uiConfig", {})], last)
    assert parsed(await following(again.frames())) == [("activity", {"id": 1})]
    for stranger in ("0-1", "x", last.split("-")[0] + "-99999"):
        other = bus.subscribe(lambda: [("uiConfig", {})], stranger)
        assert parsed(await following(other.frames())) == [("uiConfig", {})]


async def test_a_client_that_does_not_read_costs_a_bound() -> None:
    """Beyond its queue a client loses events, is told, and gets the present state again."""
    bus = EventBus()
    client = bus.subscribe(lambda: [("uiConfig", {})])
    frames = client.frames()
    await following(frames)
    for _ in range(40):
        bus.publish("modelStatus", ["x" * (QUEUE // 20)], remember=False)
    data = await following(frames)
    assert b"bytes of events dropped" in data
    assert parsed(data)[-1] == ("uiConfig", {})
    assert bus.dropped > 0
    client.close()


@dataclass
class Running:
    """A request that runs."""

    number: int = 0
    began: float = 0.0
    began_ns: int = 0
    model: str = "m"
    path: str = "/v1/x"
    method: str = "POST"
    request_headers: Headers = ((b"authorization", b"Bearer secret"), (b"user-agent", b"curl"))
    response_headers: Headers = ()
    remote_ip: str = "10.0.0.7"
    cancel: Callable[[], None] | None = None
    received: int = 0
    shown: int = 0


async def test_in_flight_entries_come_and_go() -> None:
    """Watchers see start, head and end; credentials are masked; cancel calls back once known."""
    bus = EventBus()
    running = Inflight(bus, HeaderMask())
    frames = bus.subscribe(lambda: [("inflight", running.snapshot())]).frames()
    assert parsed(await following(frames)) == [
        ("inflight", {"operation": "snapshot", "requests": []})
    ]
    cancelled: list[int] = []
    entry = Running(cancel=lambda: cancelled.append(1))
    running.enter(entry)
    entry.response_headers = JSON
    running.answered(entry)
    entry.received = 5
    assert (running.cancel("1"), running.cancel("2"), cancelled) == (True, False, [1])
    running.leave(entry)
    running.leave(entry)
    told = parsed(await following(frames))
    assert [payload["operation"] for _, payload in told] == ["upsert", "upsert", "upsert", "remove"]
    shown = told[2][1]["request"]
    assert shown["req_headers"] == {"Authorization": "[REDACTED]", "User-Agent": "curl"}
    assert (shown["id"], shown["resp_bytes"], shown["resp_headers"]) == (
        "1", 5, {"Content-Type": "application/json"},
    )  # fmt: skip
    assert len(running) == 0
    bus.close()


async def test_progress_is_told_at_intervals() -> None:
    """Bytes that arrive after the head are told by a timer, the last value included."""
    bus = EventBus()
    running = Inflight(bus, HeaderMask())
    frames = bus.subscribe(list).frames()
    await following(frames)
    entry = Running()
    running.enter(entry)
    await following(frames)
    entry.received = 9
    assert parsed(await following(frames))[0][1]["request"]["resp_bytes"] == 9
    running.leave(entry)
    bus.close()


def kept(
    captures: Captures,
    number: int,
    body: bytes,
    status: int = 200,
    *,
    mask: CaptureMask = KEEP_ALL,
) -> Any:
    draft = captures.begin("/x", mask, [(b"cookie", b"c"), (b"accept", b"*/*")], b'{"model":"m"}')
    assert draft is not None
    captures.on_head(
        draft, status, [*JSON, (b"Content-Encoding", b"gzip")] if body[:2] == b"\x1f\x8b" else JSON
    )
    captures.on_data(draft, body)
    captures.keep(number, draft)
    captures.drop(draft)
    return captures.show(number)


def test_a_capture_shows_the_exchange() -> None:
    """Bodies are decoded and in base64, credentials masked, what a route must not keep is left out."""
    captures = Captures(1 << 20, HeaderMask())
    shown = kept(captures, 1, gzip.compress(b"hello"))
    assert base64.b64decode(shown["resp_body"]) == b"hello"
    assert base64.b64decode(shown["req_body"]) == b'{"model":"m"}'
    assert shown["req_headers"] == {"Cookie": "[REDACTED]", "Accept": "*/*"}
    assert shown["resp_headers"] == {"Content-Type": "application/json"}
    sound = kept(captures, 2, b"sound", mask=CaptureMask(response_body=False))
    assert (sound["resp_body"], sound["req_body"] is None) == (None, False)
    upload = kept(captures, 3, b"text", mask=CaptureMask(request_body=False))
    assert (upload["req_body"], upload["resp_body"]) == (None, base64.b64encode(b"text").decode())
    failed = kept(captures, 4, b"no", 500)
    assert failed["resp_body"] is None
    assert captures.show(9) is None


def test_captures_are_bounded() -> None:
    """The oldest leave first, one item is cut at its share, nothing stays reserved."""
    captures = Captures(4 * STEP, HeaderMask())
    for number in range(200):
        kept(captures, number, bytes(range(256)) * 15)
    assert captures.size <= 4 * STEP
    assert captures.has(199)
    assert not captures.has(0)
    draft = captures.begin("/x", KEEP_ALL, (), b"")
    assert draft is not None
    captures.on_head(draft, 200, JSON)
    for _ in range(100):
        captures.on_data(draft, b"y" * 10_000)
    assert draft.truncated
    assert draft.size <= 2 * STEP
    captures.keep(500, draft)
    captures.drop(draft)
    shown = captures.show(500)
    assert shown is not None
    assert shown["resp_truncated"] is True
    assert captures._gathering == 0
    captures.resize(4 * STEP, most=2)
    kept(captures, 501, b"z")
    kept(captures, 502, b"z")
    assert captures.ids() == {501, 502}
    captures.resize(4 * STEP, most=1)
    assert captures.ids() == {502}
    captures.resize(0)
    assert (captures.size, captures.enabled, captures.begin("/x", KEEP_ALL, (), b"")) == (
        0,
        False,
        None,
    )


TOKENS = Tokens(cached=2, drafted=5, accepted=3, input=10, output=4, duration_ms=1500, ttft_ms=300)


@dataclass
class Answered:
    """A finished request."""

    model: str = "m"
    status: int = 200
    queue_ms: int = 20
    recorded_path: str = "/v1/chat/completions"
    stream: bool = True
    tokens: Tokens = TOKENS


def families(metrics: Metrics, gpus: list[GpuSample] | None = None) -> dict[str, Any]:
    host = Performance(every=5)
    host._gpus = NoGpus()
    host.sample()
    text = metrics.text(
        [ModelCounters('m"\n', "ready", 1, 2)], host.latest()[0], gpus or [], in_flight=3
    ).decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


class NoGpus(Gpus):
    def read(self) -> list[Any]:
        return []


GPU = GpuSample(
    timestamp="", id=0, name="Card", uuid="", temp_c=40, vram_temp_c=0, gpu_util_pct=5.0,
    mem_util_pct=10.0, mem_used_mb=1024, mem_total_mb=8192, fan_speed_pct=30.0, power_draw_w=55.5,
)  # fmt: skip


def test_metrics_are_prometheus_text() -> None:
    """The official parser reads every family, and the numbers are what was counted."""
    metrics = Metrics(version="1")
    metrics.watch_drops(activity=lambda: 4)
    metrics.requests([Answered(), Answered("nobody", 404, -1), Answered()])
    metrics.requests([Answered()])
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
    """However many names clients invent, the number of series stays bounded."""
    metrics = Metrics()
    for number in range(MOST_SERIES + 500):
        metrics.requests([Answered(f"m{number}", 500)])
    assert len(metrics.counters.requests) <= MOST_SERIES + 1
    assert len(metrics.counters.waits) <= MOST_SERIES + 1


def test_samples_are_reported_after_a_moment() -> None:
    """Only newer samples are reported; an empty series is null, or a list when asked with a moment."""
    performance = Performance(every=5, gpus=NoGpus())
    assert performance.report(None) == {"enabled": True, "gpu_stats": None, "sys_stats": None}
    performance.sample()
    report: Any = performance.report(0)
    assert (len(report["sys_stats"]), report["gpu_stats"]) == (1, [])
    later = performance._hosts[-1][0]
    assert performance.report(later)["sys_stats"] == []


def test_sampling_begins_when_it_is_switched_on() -> None:
    """Off at the start, on by a reload: samples come, and the answer is no longer that it is off."""
    performance = Performance(every=5, disabled=True, gpus=NoGpus())
    was = performance.enabled
    performance.configure(every=5, disabled=False)
    try:
        assert (was, performance.enabled) == (False, True)
        assert performance._thread is not None
        assert performance._thread.is_alive()
    finally:
        performance.close()


def test_the_dashboard_uses_metrics_that_exist() -> None:
    """Every metric in the Grafana dashboard is one that the program exposes."""
    metrics = Metrics(version="1")
    metrics.requests([Answered()])
    metrics.phase("m", "starting", 1.0)
    metrics.phase("m", "ready", 2.0)
    metrics.phase("n", "starting", 3.0)
    metrics.phase("n", "stopped", 4.0)
    metrics.watch_drops(activity=lambda: 0)
    exposed = {
        sample.name for family in families(metrics, [GPU]).values() for sample in family.samples
    }
    dashboard = (Path(__file__).parents[3] / "deploy/grafana/modelswap.json").read_text()
    used = set(re.findall(r"(?:modelswap|llamaswap)_[a-z_]+", dashboard))
    assert used - exposed == set()
    assert len(used) > 20


def test_a_load_that_took_too_long_is_a_failure() -> None:
    """It is counted once, when it is given up; one that was called off is none, and no swap."""
    metrics = Metrics()
    for model, failed in (("slow", True), ("unwanted", False)):
        metrics.phase(model, "starting", 1.0)
        metrics.phase(model, "stopping", 2.0, failed=failed)
        metrics.phase(model, "stopped", 3.0, failed=failed)
    assert metrics.counters.load_failures == {"slow": 1}
    assert metrics.counters.swaps == 0
