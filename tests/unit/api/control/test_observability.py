"""The observing routes, called as the gateway calls them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from modelswap.api.auth.identity import ANONYMOUS
from modelswap.api.control import observability as routes
from modelswap.api.control.control_request import ControlError, ControlRequest, Reply, StreamReply
from modelswap.observe.activity.rows import Row
from support.services import close, make_services

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from modelswap.api.services import Services


@dataclass
class AskedRequest:
    """The part of a request that control handlers look at."""

    query: str = ""
    headers: dict[bytes, bytes] = field(default_factory=dict)

    def header(self, name: bytes) -> bytes | None:
        return self.headers.get(name)


def add_rows(services: Services, count: int) -> None:
    store = services.store
    for number in range(count):
        row = Row(
            store.next_ids(1), 1_790_000_000 + number, "m", "/v1/x", "", 200,
            0, 0, 0, 1, 2, 3.0, 4.0, 5, "", "",
        )  # fmt: skip
        store.record([row], {})
    assert store._writer is not None
    store._drain(store._writer)


@pytest.fixture
async def services() -> AsyncIterator[Services]:
    services = make_services()
    yield services
    close(services)


def control_request(
    services: Services, query: str = "", headers: Any = None, **params: str
) -> ControlRequest:
    request: Any = AskedRequest(query, headers or {})
    return ControlRequest(
        http_request=request, services=services, identity=ANONYMOUS, params=params
    )


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("limit=x", "invalid limit"),
        ("limit=0", "limit must be between 1 and 999"),
        ("limit=-5", "limit must be between 1 and 999"),
        ("limit=1000", "limit must be between 1 and 999"),
        ("page=0", "page must be >= 1"),
        ("sort=colour", "invalid sort column"),
        ("order=up", "order must be asc or desc"),
        ("min_id=0", "min_id must be >= 1"),
        ("max_id=x", "max_id must be >= 1"),
        ("min_id=5&max_id=4", "min_id must be <= max_id"),
        ("start=yesterday", "invalid 'start' timestamp, use RFC3339 format"),
        ("end=2026-13-01T00:00:00Z", "invalid 'end' timestamp, use RFC3339 format"),
        ("start=2026-01-02T00:00:00Z&end=2026-01-01T00:00:00Z", "start must be before end"),
        ("status=9", "status must be a code such as 404, or a class such as 5xx"),
    ],
)
async def test_a_bad_question_is_told(services: Services, query: str, message: str) -> None:
    """Each mistake in the query of the activity list has its message."""
    with pytest.raises(ControlError) as caught:
        await routes.activity(control_request(services, query))
    assert (caught.value.status, caught.value.text) == (400, message)


async def test_the_activity_list(services: Services) -> None:
    """Rows come in pages, blank values are ignored, a cursor leads on, an empty table has no page."""
    empty = json.loads((await routes.activity(control_request(services))).body)
    assert empty == {"data": [], "page": 1, "limit": 25, "total": 0, "total_pages": 0}
    add_rows(services, 5)
    page = json.loads(
        (await routes.activity(control_request(services, "limit=2&model=&sort=&status=2xx"))).body
    )
    assert ([row["id"] for row in page["data"]], page["total_pages"]) == ([5, 4], 3)
    rest = json.loads(
        (
            await routes.activity(
                control_request(services, f"limit=9&cursor={page['next_cursor']}")
            )
        ).body
    )
    assert [row["id"] for row in rest["data"]] == [3, 2, 1]
    stats = json.loads((await routes.stats(control_request(services, "model=m"))).body)
    assert (stats["total_requests"], stats["prompt_histogram"]["binSize"]) == (5, 0.0)
    table = await routes.export(control_request(services, "format=csv"))
    assert (table.content_type, table.body.count(b"\r\n")) == ("text/csv; charset=utf-8", 6)


async def test_what_is_not_there(services: Services) -> None:
    """Captures, running requests, samples and logs that do not exist are told apart."""
    for handler, params, status, message in (
        (routes.capture, {"id": "x"}, 400, "invalid capture ID"),
        (routes.capture, {"id": "7"}, 404, "capture not found"),
        (routes.cancel, {"id": "7"}, 404, "inflight request not found"),
        (
            routes.log_stream,
            {"id": "nothing"},
            400,
            "invalid logger. Use 'proxy', 'upstream' or a model's ID",
        ),
    ):
        with pytest.raises(ControlError) as caught:
            await handler(control_request(services, **params))
        assert (caught.value.status, caught.value.text) == (status, message)
    off = await routes.performance(control_request(services))
    assert (off.status, off.body) == (503, b'{"enabled":false}\n')


async def test_logs(services: Services) -> None:
    """The combined log is text; a stream begins with the history."""
    services.log.info("hello")
    reply = await routes.logs(control_request(services))
    assert (reply.status, reply.content_type, reply.body) == (200, "text/plain", b"")
    stream = await routes.log_stream(control_request(services, id="proxy"))
    assert isinstance(stream, StreamReply)
    assert await anext(stream.chunks) == b"[INFO] hello\n"
    services.logs.end_tails()
    assert [piece async for piece in stream.chunks] == []
    assert services.logs.readers == 0


async def test_events_begin_with_the_present_state(services: Services) -> None:
    """The initial sequence has llama-swap's order, and ours after it."""
    stream = await routes.events(control_request(services))
    first = (await anext(stream.chunks)).decode()
    kinds = [json.loads(line[5:])["type"] for line in first.split("\n") if line.startswith("data:")]
    assert kinds == [
        "logData", "logData", "modelStatus", "uiConfig", "profileChanged", "inflight", "pulls", "configStatus",
    ]  # fmt: skip
    services.bus.close()
    assert [piece async for piece in stream.chunks] == []


async def test_figures(services: Services) -> None:
    """Metrics are Prometheus text; the hardware is described."""
    reply = await routes.metrics(control_request(services))
    assert isinstance(reply, Reply)
    assert b"modelswap_in_flight 0.0" in reply.body
    facts = json.loads((await routes.hardware(control_request(services))).body)
    assert facts["schema_version"] == 1
