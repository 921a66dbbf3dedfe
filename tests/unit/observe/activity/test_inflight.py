"""The list of running requests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelswap.observe.activity.inflight import Inflight
from modelswap.observe.events import EventBus
from modelswap.observe.logs.redaction import HeaderMask
from support.event_stream import next_frame, parsed_events

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelswap.observe.logs.redaction import Headers


JSON = ((b"content-type", b"application/json"),)


@dataclass(eq=False)
class Running:
    """A running request."""

    number: int = 0
    began: float = 0.0
    model: str = "m"
    path: str = "/v1/x"
    method: str = "POST"
    request_headers: Headers = ((b"authorization", b"Bearer secret"), (b"user-agent", b"curl"))
    response_headers: Headers = ()
    remote_ip: str = "10.0.0.7"
    cancel: Callable[[], None] = lambda: None
    received: int = 0


async def test_start_head_and_end_are_published() -> None:
    """Subscribers see start, head and end; credentials are masked; a known request can be cancelled."""
    bus = EventBus()
    running = Inflight(bus, HeaderMask())
    frames = bus.subscribe(lambda: [("inflight", running.snapshot())]).frames()
    assert parsed_events(await next_frame(frames)) == [
        ("inflight", {"operation": "snapshot", "requests": []})
    ]
    cancelled: list[int] = []
    entry = Running(cancel=lambda: cancelled.append(1))
    running.add(entry)
    entry.response_headers = JSON
    running.on_response_head(entry)
    entry.received = 5
    assert (running.cancel("1"), running.cancel("2"), cancelled) == (True, False, [1])
    running.remove(entry)
    running.remove(entry)
    published = parsed_events(await next_frame(frames))
    assert [payload["operation"] for _, payload in published] == [
        "upsert",
        "upsert",
        "upsert",
        "remove",
    ]
    shown = published[2][1]["request"]
    assert shown["req_headers"] == {"Authorization": "[REDACTED]", "User-Agent": "curl"}
    assert (shown["id"], shown["resp_bytes"], shown["resp_headers"]) == (
        "1", 5, {"Content-Type": "application/json"},
    )  # fmt: skip
    assert len(running) == 0
    bus.close()


async def test_progress_is_published_at_intervals() -> None:
    """A timer publishes the bytes that arrive after the head, the last value included."""
    bus = EventBus()
    running = Inflight(bus, HeaderMask())
    frames = bus.subscribe(list).frames()
    await next_frame(frames)
    entry = Running()
    running.add(entry)
    await next_frame(frames)
    entry.received = 9
    assert parsed_events(await next_frame(frames))[0][1]["request"]["resp_bytes"] == 9
    running.remove(entry)
    bus.close()


async def test_what_was_shown_without_subscribers_is_forgotten() -> None:
    """Requests are numbered in the order of their begin, when they are shown; one that ended is not known."""
    running = Inflight(EventBus(), HeaderMask())
    unseen, first, second = Running(), Running(), Running()
    running.add(unseen)
    running.remove(unseen)
    running.add(first)
    running.add(second)
    shown = [running.snapshot()["requests"] for _ in range(2)]
    assert [[entry["id"] for entry in entries] for entries in shown] == [["1", "2"]] * 2  # type: ignore[attr-defined]  # a list
    running.remove(first)
    assert (unseen.number, running.cancel("1"), running.cancel("2")) == (0, False, True)
    assert len(running) == 1


async def test_a_waiting_request_has_its_number() -> None:
    """It is the one under which the request is shown later; a request that is not in the list has none."""
    inflight = Inflight(EventBus(), HeaderMask(()))
    first, second, stranger = Running(), Running(), Running()
    inflight.add(first)
    inflight.add(second)
    assert inflight.number_of(second) == 1
    assert inflight.number_of(second) == 1
    assert inflight.number_of(stranger) == 0
    requests = inflight.snapshot()["requests"]
    assert isinstance(requests, list)
    assert [one["id"] for one in requests] == ["2", "1"]
    assert inflight.cancel("1")
