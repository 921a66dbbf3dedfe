"""The house's own dealings with the fleet."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from modelswap.api.auth.auth import ANYONE
from modelswap.api.services import Services
from modelswap.core.models.lifecycle import Phase
from modelswap.core.spec import ClientId, ModelId
from modelswap.observe.events import EventBus
from modelswap.observe.logs.logs import Logger, Logs, model_source
from modelswap.observe.metrics.prometheus import Metrics

if TYPE_CHECKING:
    from modelswap.core.commands import LeaseRequest
    from modelswap.fleet import LeaseWaiter

A = ModelId("a")


class OneLeaseFleet:
    """Counts the leases of one model; grants when the test says so."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.waiter: LeaseWaiter | None = None

    def ask(self, request: LeaseRequest, waiter: LeaseWaiter) -> None:
        del request
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
    services = cast("Services", SimpleNamespace(loop=loop, fleet=fleet))
    async with asyncio.TaskGroup() as tasks:
        load = tasks.create_task(Services.load(services, A, ClientId("x"), ANYONE))
        await asyncio.sleep(0)
        fleet.grant()
        if client_leaves:
            load.cancel()
    assert load.cancelled() is client_leaves
    assert fleet.in_flight == 0


@pytest.mark.parametrize("is_configured", [False, True])
async def test_history_of_a_removed_model_leaves_with_it(*, is_configured: bool) -> None:
    """What a removed model still says while it ends is not kept for ever."""
    logs = Logs(to_stdout="none")
    models = {A: None} if is_configured else {}
    fleet = SimpleNamespace(failure=lambda _: None)
    services = cast(
        "Services",
        SimpleNamespace(
            loop=asyncio.get_running_loop(),
            plan=SimpleNamespace(models=models),
            metrics=Metrics(),
            fleet=fleet,
            logs=logs,
            log=Logger(logs),
            bus=EventBus(),
            statuses=list,
        ),
    )
    logs.forget(A)  # as the reload does
    Services.on_output(services, A, b"bye\n")
    Services.on_phase(services, A, Phase.STOPPED, "")
    assert bool(logs.history(model_source(A))) is is_configured
    logs.close()
