"""What a sweep looks at, counted: not what rests."""

from __future__ import annotations

from modelswap.http.transport.swept_connections import SweptConnections


def test_a_resting_connection_is_not_looked_at_before_its_time() -> None:
    """Of ten thousand, a sweep sees those that are in use; the others come when their time is over."""
    swept: SweptConnections[int] = SweptConnections()
    for number in range(10_000):
        swept.add(number)
    assert len(swept.due(0.25)) == 10_000
    for number in range(1, 10_000):
        swept.rest(number, until=75.5)
    assert swept.due(0.5) == [0]
    assert swept.due(75.75) == [0]
    assert len(swept.due(76.0)) == 10_000
    assert swept.resting() == []


def test_a_connection_that_wakes_is_looked_at_again() -> None:
    """Woken or removed, it is forgotten where it rested."""
    swept: SweptConnections[str] = SweptConnections()
    for name in ("woken", "removed"):
        swept.add(name)
        swept.rest(name, until=10)
    assert swept.due(1) == []
    swept.add("woken")
    swept.remove("removed")
    assert swept.due(1.25) == ["woken"]
    assert swept.due(1000) == ["woken"]
    assert swept.resting() == []


def test_the_time_to_rest_can_change() -> None:
    """The last time counts."""
    swept: SweptConnections[str] = SweptConnections()
    swept.rest("a", until=10)
    swept.rest("a", until=20)
    assert swept.due(11) == []
    assert swept.due(21) == ["a"]
