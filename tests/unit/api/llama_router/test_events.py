"""Who hears what in the stream of llama.cpp's router."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from modelswap.api.llama_router.events import EVERY, QUEUE, RouterEvents, RouterReader
from modelswap.core.models.lifecycle import Phase
from modelswap.core.spec import ModelId

if TYPE_CHECKING:
    from collections.abc import Callable

A = ModelId("a")


def reader_of(
    events: RouterEvents,
    may_read: Callable[[str], bool] = lambda _: True,
    *,
    shows_details: bool = False,
) -> RouterReader:
    reader = RouterReader(may_read, shows_details=shows_details)
    events.subscribe(reader)
    return reader


async def heard(events: RouterEvents, reader: RouterReader) -> list[dict[str, Any]]:
    events.close()
    text = (await reader.stream.take() or b"").decode()
    return [json.loads(part.removeprefix("data: ")) for part in text.split("\n\n") if part]


@pytest.mark.parametrize(("shows_details", "reason"), [(False, "brief"), (True, "long")])
async def test_details_are_for_some(reason: str, *, shows_details: bool) -> None:
    """Details replace what every reader gets."""
    events = RouterEvents()
    reader = reader_of(events, shows_details=shows_details)
    events.publish("a", "model_status", {"reason": "brief"}, {"reason": "long"})
    assert await heard(events, reader) == [
        {"model": "a", "event": "model_status", "data": {"reason": reason}}
    ]


async def test_a_limited_reader_hears_of_its_models_alone() -> None:
    """What concerns all models is for every reader."""
    events = RouterEvents()
    reader = reader_of(events, lambda model: model == "b")
    events.publish("a", "model_status", {})
    events.publish("b", "model_status", {})
    events.publish(EVERY, "models_reload")
    found = await heard(events, reader)
    assert [(one["model"], one["event"]) for one in found] == [
        ("b", "model_status"),
        (EVERY, "models_reload"),
    ]


async def test_a_phase_is_told_once() -> None:
    """A new reason for the same phase is no event; without readers nothing is."""
    events = RouterEvents()
    assert not events.is_new(A, Phase.STARTING)
    reader = reader_of(events)
    assert not events.is_new(A, Phase.STARTING)
    assert events.is_new(A, Phase.READY)
    assert events.is_new(A, Phase.STOPPED)
    events.unsubscribe(reader)
    assert not events.is_new(A, Phase.READY)


async def test_a_slow_reader_is_told_what_it_lost() -> None:
    """The queue is bounded; a comment says that something is missing."""
    events = RouterEvents()
    reader = reader_of(events)
    for _ in range(3):
        events.publish("a", "model_status", {"reason": "x" * (QUEUE // 2)})
    events.close()
    assert b"bytes dropped" in (await reader.stream.take() or b"")


async def test_a_late_reader_ends_at_once() -> None:
    """After the end nothing is subscribed."""
    events = RouterEvents()
    events.close()
    assert await reader_of(events).stream.take() is None
