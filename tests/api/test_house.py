"""The house's own dealings with the fleet."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from modelswap.api.house import House
from modelswap.core.spec import ClientId, ModelId

if TYPE_CHECKING:
    from modelswap.fleet import Waiter

A = ModelId("a")


class OneLeaseFleet:
    """Counts the leases of one model; grants when the test says so."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.waiter: Waiter | None = None

    def ask(self, model: ModelId, waiter: Waiter, *, client: ClientId) -> None:
        del model, client
        self.waiter = waiter

    def grant(self) -> None:
        assert self.waiter is not None
        self.in_flight += 1
        self.waiter.on_granted(cast("Any", SimpleNamespace(model=SimpleNamespace(id=A))))

    def release(self, model: ModelId) -> None:
        assert model == A
        self.in_flight -= 1

    def cancel(self, ticket: object) -> None: ...


@pytest.mark.parametrize("client_leaves", [False, True])
async def test_load_keeps_no_lease(*, client_leaves: bool) -> None:
    """A load ends without a lease, also for a client that leaves as the model gets ready."""
    loop, fleet = asyncio.get_running_loop(), OneLeaseFleet()
    house = cast("House", SimpleNamespace(loop=loop, fleet=fleet))
    async with asyncio.TaskGroup() as tasks:
        load = tasks.create_task(House.load(house, A, ClientId("x")))
        await asyncio.sleep(0)
        fleet.grant()
        if client_leaves:
            load.cancel()
    assert load.cancelled() is client_leaves
    assert fleet.in_flight == 0
