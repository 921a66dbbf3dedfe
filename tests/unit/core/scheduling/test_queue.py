"""The order of the queue, its bounds, and memory that does not grow."""

from __future__ import annotations

from modelswap.core.commands import LeaseRequest
from modelswap.core.models.state import NEVER
from modelswap.core.scheduling.queue import ROUNDS_KEPT, QueuedRequest, WaitQueue
from modelswap.core.spec import ClientId, ModelId, RequestId
from modelswap.units import Seconds

NOW = Seconds(0)


def add(
    queue: WaitQueue,
    number: int,
    client: str,
    *,
    priority: int = 0,
    at: float = 0,
    background: bool = False,
) -> QueuedRequest:
    request = LeaseRequest(ModelId("m"), ClientId(client), background)
    return queue.add(RequestId(number), request, priority, Seconds(at), Seconds(30))


def order(queue: WaitQueue) -> list[int]:
    return [queued.id for queued in queue]


def test_clients_take_turns() -> None:
    """Each client's first request comes before every second one."""
    queue = WaitQueue()
    for number, client in enumerate("aaabbc"):
        add(queue, number, client)
    assert order(queue) == [0, 3, 5, 1, 4, 2]


def test_a_new_client_starts_in_the_present_round() -> None:
    """A later client starts in the present round, so new clients cannot starve earlier ones."""
    queue = WaitQueue()
    queued = [add(queue, n, "a") for n in range(3)]
    queue.remove(queued[0], served=True)
    queue.remove(queued[1], served=True)
    add(queue, 9, "b")
    assert order(queue) == [9, 2]
    assert add(queue, 10, "c").round == 1


def test_priority_then_background() -> None:
    """Higher priority goes first, background last whatever its priority."""
    queue = WaitQueue()
    add(queue, 0, "a")
    add(queue, 1, "b", priority=-1)
    add(queue, 2, "c", priority=5)
    add(queue, 3, "d", priority=9, background=True)
    assert order(queue) == [2, 0, 1, 3]


def test_the_overdue_go_first_oldest_first() -> None:
    """After the bound neither priority nor rounds count; background requests never get there."""
    queue = WaitQueue()
    add(queue, 0, "a", background=True)
    add(queue, 1, "a", at=1)
    add(queue, 2, "a", at=2)
    assert not queue.age(Seconds(30.9))
    assert queue.age(Seconds(32))
    add(queue, 3, "b", priority=100, at=32)
    assert order(queue) == [1, 2, 3, 0]
    assert [queued.id for queued in queue if queued.is_overdue] == [1, 2]
    assert queue.next_due() == Seconds(62)


def test_a_removed_request_does_not_become_overdue() -> None:
    """The time at which a removed request was due passes without effect."""
    queue = WaitQueue()
    queue.remove(add(queue, 0, "a"))
    assert queue.next_due() == NEVER
    add(queue, 1, "a", background=True)
    first = add(queue, 2, "a", at=1)
    queue.remove(first)
    assert not queue.age(Seconds(31))
    assert queue.next_due() == NEVER


def test_a_new_bound_counts_from_arrival() -> None:
    """A changed bound holds for those that wait already, and no bound frees them."""
    queue = WaitQueue()
    add(queue, 0, "a")
    add(queue, 1, "b", background=True)
    queue.age(Seconds(40))
    queue.set_bounds(lambda _: Seconds(50))
    assert not any(queued.is_overdue for queued in queue)
    assert queue.next_due() == Seconds(50)
    queue.set_bounds(lambda _: NEVER)
    assert queue.next_due() == NEVER


def test_clients_are_forgotten() -> None:
    """However many clients come and go while one waits, few are remembered."""
    queue = WaitQueue()
    add(queue, 0, "patient", background=True)
    for number in range(1, 10_000):
        queue.remove(add(queue, number, f"client {number}"), served=True)
        queue.remove(add(queue, -number, f"client {number}"), served=True)
    assert len(queue._rounds) <= ROUNDS_KEPT + 3
