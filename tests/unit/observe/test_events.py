"""The event stream and its subscribers."""

from __future__ import annotations

from modelswap.observe.events import QUEUE, EventBus, frame
from support.event_stream import next_frame, parsed_events


def test_a_frame_has_the_form_of_llama_swap() -> None:
    """No space after the colons, the data a JSON document in a string."""
    assert frame("activity", {"id": 7}) == (
        b'event:message\ndata:{"type":"activity","data":"{\\"id\\":7}"}\n\n'
    )


async def test_current_state_then_events() -> None:
    """A client gets the initial sequence, then each event once."""
    bus = EventBus()
    frames = bus.subscribe(
        lambda: [("uiConfig", {}), ("profileChanged", {"active": None})]
    ).frames()
    assert parsed_events(await next_frame(frames)) == [
        ("uiConfig", {}),
        ("profileChanged", {"active": None}),
    ]
    bus.publish("activity", {"id": 1})
    bus.log("proxy", b"a\n")
    bus.log("upstream", b"x\n")
    bus.log("proxy", b"b\n")
    assert parsed_events(await next_frame(frames)) == [("activity", {"id": 1})]
    assert parsed_events(await next_frame(frames)) == [
        ("logData", {"data": "a\nb\n", "source": "proxy"}),
        ("logData", {"data": "x\n", "source": "upstream"}),
    ]
    bus.close()
    assert [piece async for piece in frames] == []
    assert not bus.listening


async def test_a_client_that_reconnects_gets_the_missed_events() -> None:
    """With the last id only the missed events come; with a foreign one the whole state."""
    bus = EventBus()
    first = bus.subscribe(lambda: [("uiConfig", {})])
    last = (await next_frame(first.frames())).decode().rsplit("id:", 1)[1].strip()
    first.close()
    bus.publish("activity", {"id": 1})
    bus.publish("inflight", {}, remember=False)
    again = bus.subscribe(lambda: [("uiConfig", {})], last)
    assert parsed_events(await next_frame(again.frames())) == [("activity", {"id": 1})]
    for foreign in ("0-1", "x", last.split("-")[0] + "-99999"):
        other = bus.subscribe(lambda: [("uiConfig", {})], foreign)
        assert parsed_events(await next_frame(other.frames())) == [("uiConfig", {})]


async def test_a_state_is_computed_for_those_who_read_it() -> None:
    """Without a subscriber it is never computed, and of many changes one is sent again: the last."""
    bus = EventBus()
    computed = 0

    def state() -> list[int]:
        nonlocal computed
        computed += 1
        return [computed]

    bus.publish("modelStatus", state)
    first = bus.subscribe(lambda: [("uiConfig", {})])
    last = (await next_frame(first.frames())).decode().rsplit("id:", 1)[1].strip()
    first.close()
    for number in range(1000):
        bus.publish("modelStatus", state)
        bus.publish("activity", {"id": number})
    assert computed == 0
    again = bus.subscribe(lambda: [("uiConfig", {})], last.split("-")[0] + "-1501")
    missed = parsed_events(await next_frame(again.frames()))
    assert [payload for kind, payload in missed if kind == "modelStatus"] == [[1]]
    assert missed[-2:] == [("modelStatus", [1]), ("activity", {"id": 999})]
    bus.publish("modelStatus", state)
    assert computed == 2


async def test_a_client_that_does_not_read_loses_events() -> None:
    """Beyond its queue a client loses events; a comment says so, and the current state follows."""
    bus = EventBus()
    client = bus.subscribe(lambda: [("uiConfig", {})])
    frames = client.frames()
    await next_frame(frames)
    for _ in range(40):
        bus.publish("modelStatus", ["x" * (QUEUE // 20)], remember=False)
    data = await next_frame(frames)
    assert b"bytes of events dropped" in data
    assert parsed_events(data)[-1] == ("uiConfig", {})
    assert bus.dropped > 0
    client.close()
