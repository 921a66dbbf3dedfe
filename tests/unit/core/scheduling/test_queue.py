"""The waiting line: turns, bounds, and a memory that does not grow."""

from __future__ import annotations

from modelswap.core.commands import LeaseRequest
from modelswap.core.scheduling.queue import ROUNDS_KEPT, QueuedRequest, WaitQueue
from modelswap.core.spec import ClientId, ModelId, RequestId
from modelswap.units import Seconds

NOW = Seconds(0)


def enter(
    line: WaitQueue,
    number: int,
    client: str,
    *,
    priority: int = 0,
    at: float = 0,
    background: bool = False,
) -> QueuedRequest:
    request = LeaseRequest(RequestId(number), ModelId("m"), ClientId(client), background)
    return line.enter(request, priority, Seconds(at), Seconds(30))


def order(line: WaitQueue) -> list[int]:
    return [w.request.id for w in line]


def test_clients_take_turns() -> None:
    """Each client's first request comes before anybody's second."""
    line = WaitQueue()
    for number, client in enumerate("aaabbc"):
        enter(line, number, client)
    assert order(line) == [0, 3, 5, 1, 4, 2]


def test_a_newcomer_takes_no_turn_that_has_passed() -> None:
    """Who comes later starts in the present round, so newcomers cannot starve who came first."""
    line = WaitQueue()
    waiters = [enter(line, n, "a") for n in range(3)]
    line.remove(waiters[0], served=True)
    line.remove(waiters[1], served=True)
    enter(line, 9, "b")
    assert order(line) == [9, 2]
    assert enter(line, 10, "c").round == 1


def test_priority_then_background() -> None:
    """Higher priority goes first, background last whatever its priority."""
    line = WaitQueue()
    enter(line, 0, "a")
    enter(line, 1, "b", priority=-1)
    enter(line, 2, "c", priority=5)
    enter(line, 3, "d", priority=9, background=True)
    assert order(line) == [2, 0, 1, 3]


def test_the_overdue_go_first_oldest_first() -> None:
    """After the bound neither priority nor turns count; background requests never get there."""
    line = WaitQueue()
    enter(line, 0, "a", background=True)
    enter(line, 1, "a", at=1)
    enter(line, 2, "a", at=2)
    assert not line.age(Seconds(30.9))
    assert line.age(Seconds(32))
    enter(line, 3, "b", priority=100, at=32)
    assert order(line) == [1, 2, 3, 0]
    assert [w.request.id for w in line.overdue()] == [1, 2]
    assert line.next_due() == Seconds(62)


def test_who_left_is_not_waited_for() -> None:
    """The due moment of one who left passes without effect."""
    line = WaitQueue()
    line.remove(enter(line, 0, "a"))
    assert line.next_due() is None
    enter(line, 1, "a", background=True)
    first = enter(line, 2, "a", at=1)
    line.remove(first)
    assert line.next_due() == Seconds(31)
    assert not line.age(Seconds(31))
    assert line.next_due() is None


def test_a_new_bound_counts_from_arrival() -> None:
    """A changed bound holds for those that wait already, and no bound frees them."""
    line = WaitQueue()
    enter(line, 0, "a")
    enter(line, 1, "b", background=True)
    line.age(Seconds(40))
    line.set_bound(Seconds(50))
    assert list(line.overdue()) == []
    assert line.next_due() == Seconds(50)
    line.set_bound(None)
    assert line.next_due() is None


def test_clients_are_forgotten() -> None:
    """However many clients come and go while one waits, few are remembered."""
    line = WaitQueue()
    enter(line, 0, "patient", background=True)
    for number in range(1, 10_000):
        line.remove(enter(line, number, f"client {number}"), served=True)
        line.remove(enter(line, -number, f"client {number}"), served=True)
    assert len(line._rounds) <= ROUNDS_KEPT + 3
