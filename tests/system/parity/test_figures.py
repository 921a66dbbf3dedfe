"""Running requests: listed, cancelled; and the figures of host, program and models."""

from __future__ import annotations

import http.client
import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from support.server import wait_until
from support.streams import error_of, model, opened, rows

if TYPE_CHECKING:
    from support.server import Modelswap
    from support.streams import Serve


@pytest.fixture(scope="module")
def server(serve: Serve) -> Modelswap:
    return serve(f"models:\n{model('a')}{model('slow', '--ready-after', '30')}")


# Running requests


def in_flight(server: Modelswap) -> list[dict[str, Any]]:
    found = server.ask("GET", "/api/inflight").json()["requests"]
    assert isinstance(found, list)
    return found


def test_cancel_while_it_loads(server: Modelswap) -> None:
    """Better: §16, 17 — the client reads 499, which no SDK retries, and the row says so."""
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(server.chat, "slow")
        (entry,) = wait_until(lambda: in_flight(server))
        assert (entry["model"], entry["method"]) == ("slow", "POST")
        answer = server.ask("POST", f"/api/inflight/{entry['id']}/cancel")
        assert (answer.status, answer.json()) == (200, {"msg": "ok"})
        ended = waiting.result()
    assert (ended.status, ended.json()["error"]["code"]) == (499, "cancelled")
    row = rows(server, "?limit=1")[0]
    assert (row["model"], row["resp_status_code"]) == ("slow", 499)
    server.ask("POST", "/api/models/unload/slow")


def test_cancel_before_the_answer(server: Modelswap) -> None:
    """The same while the model server works."""
    server.chat("a")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(server.chat, "a", delay_ms=20_000)
        wait_until(lambda: server.stub_state("a")["open"] == 1)
        (entry,) = in_flight(server)
        assert server.ask("POST", f"/api/inflight/{entry['id']}/cancel").status == 200
        ended = waiting.result()
    assert (ended.status, ended.json()["error"]["code"]) == (499, "cancelled")
    row = rows(server, "?limit=1")[0]
    assert (row["model"], row["resp_status_code"]) == ("a", 499)


def test_cancel_in_mid_stream(server: Modelswap) -> None:
    """The stream is broken off, the model server's request too."""
    body = {"model": "a", "stream": True, "n": 1000, "delay_ms": 20}
    with opened(server, "POST", "/v1/chat/completions", body) as answer:
        assert answer.read1(10)
        (entry,) = in_flight(server)
        assert entry["resp_headers"]["Content-Type"] == "text/event-stream"
        assert server.ask("POST", f"/api/inflight/{entry['id']}/cancel").status == 200
        with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
            answer.read()
    wait_until(lambda: not in_flight(server))
    wait_until(lambda: server.stub_state("a")["cancelled"] >= 1)


@pytest.mark.parametrize("number", ["0", "x", "99999", "-1"])
def test_cancel_of_nothing(server: Modelswap, number: str) -> None:
    """404 `inflight request not found`."""
    answer = server.ask("POST", f"/api/inflight/{number}/cancel")
    assert (answer.status, error_of(answer)["message"]) == (404, "inflight request not found")


# Figures


def test_version(server: Modelswap) -> None:
    """Three strings."""
    found = server.ask("GET", "/api/version").json()
    assert {"build_date", "commit", "version"} <= set(found)
    assert all(isinstance(value, str) for value in found.values())


def test_performance(server: Modelswap) -> None:
    """Both series; `after` refused when it is no time."""
    found = server.ask("GET", "/api/performance").json()
    assert found["enabled"] is True
    assert set(found) == {"enabled", "gpu_stats", "sys_stats"}
    after = server.ask("GET", "/api/performance?after=2100-01-01T00:00:00Z").json()
    assert (after["gpu_stats"], after["sys_stats"]) == ([], [])
    answer = server.ask("GET", "/api/performance?after=x")
    assert answer.status == 400
    assert error_of(answer)["message"] == "invalid 'after' timestamp, use RFC3339 format"


def test_performance_switched_off(serve: Serve) -> None:
    """503 `{"enabled":false}`, no host gauges."""
    server = serve("performance: {disabled: true}\n")
    answer = server.ask("GET", "/api/performance")
    assert (answer.status, answer.json()) == (503, {"enabled": False})
    assert "llamaswap_" not in server.ask("GET", "/metrics").body.decode()


def test_performance_switched_on(serve: Serve) -> None:
    """Better: a reload that removes `disabled` begins to sample."""
    server = serve("performance: {disabled: true}\n")
    server.write_config("models: {}\n")
    assert server.ask("POST", "/api/config/reload").json()["ok"] is True
    wait_until(lambda: server.ask("GET", "/api/performance").json().get("sys_stats"))


def test_hardware(server: Modelswap) -> None:
    """The snapshot's fields; what is not known is null."""
    found = server.ask("GET", "/api/hardware").json()
    assert list(found) == [
        "schema_version", "captured_at", "capture", "architecture", "operating_system",
        "environment", "cpu", "memory", "accelerators",
    ]  # fmt: skip
    assert found["schema_version"] == 1
    assert found["capture"]["scope"] == "inference_host"
    assert found["operating_system"]["family"] == "linux"
    assert found["memory"]["capacity_bytes"] > 0
    assert {
        "vendor",
        "model",
        "socket_count",
        "physical_core_count",
        "logical_thread_count",
    } == set(found["cpu"])


HOST_METRICS = [
    'llamaswap_cpu_util_percent{core="0"}',
    "llamaswap_memory_total_bytes",
    "llamaswap_memory_used_bytes",
    "llamaswap_memory_free_bytes",
    "llamaswap_swap_total_bytes",
    "llamaswap_swap_used_bytes",
    'llamaswap_load_average{interval="1m"}',
]
OWN_METRICS = [
    "modelswap_build_info",
    "modelswap_in_flight",
    "modelswap_requests_total",
    "modelswap_request_duration_seconds_bucket",
    "modelswap_time_to_first_token_seconds_bucket",
    "modelswap_tokens_total",
    "modelswap_queue_length",
    "modelswap_model_in_flight",
    "modelswap_model_state",
    "modelswap_load_duration_seconds_bucket",
    "modelswap_swaps_total",
]


def test_metrics(server: Modelswap) -> None:
    """llama-swap's host families by name, and ours for requests and models."""
    assert server.chat("a").status == 200

    def text() -> str:
        answer = server.ask("GET", "/metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        return answer.body.decode()

    wait_until(lambda: "llamaswap_memory_total_bytes" in text())
    found = text()
    for name in [*HOST_METRICS, *OWN_METRICS]:
        assert f"\n{name}" in found, name
    assert "# TYPE llamaswap_cpu_util_percent gauge" in found
    assert re.search(
        r'modelswap_requests_total\{model="a",path="/v1/chat/completions",status="200"\}', found
    )
    if "llamaswap_network" in found:
        assert "# TYPE llamaswap_network_bytes_total counter" in found
