"""Loading and unloading on a client's order."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from modelswap.api.auth.identity import ANONYMOUS
from modelswap.api.control.model_loading import begin_load, load, unload
from modelswap.core.commands import Fail, LeaseRequest, Reason
from modelswap.core.spec import ClientId, ModelId, RequestId
from modelswap.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelswap.api.services import Services
    from modelswap.fleet import Fleet, LeaseWaiter

A, B = ModelId("a"), ModelId("b")


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
    def retry_pull(self, model: ModelId) -> None: ...


class FailedFleet:
    """Models of which some failed; an unload resets that."""

    def __init__(self, *failed: ModelId) -> None:
        self._failed = set(failed)
        self.unloaded: list[tuple[list[ModelId], bool]] = []

    def failure(self, model: ModelId) -> object | None:
        return "it crashed" if model in self._failed else None

    async def unload(self, models: Sequence[ModelId], *, force: bool) -> None:
        self._failed.difference_update(models)
        self.unloaded.append((list(models), force))


def services_of(fleet: OneLeaseFleet) -> Services:
    """Return what loading uses of the services."""
    loop = asyncio.get_running_loop()
    return cast("Services", SimpleNamespace(loop=loop, fleet=fleet))


@pytest.mark.parametrize("client_leaves", [False, True])
async def test_load_keeps_no_lease(*, client_leaves: bool) -> None:
    """A load ends without a lease, also for a client that leaves as the model gets ready."""
    fleet = OneLeaseFleet()
    wanted = LeaseRequest(A, ClientId("x"))
    async with asyncio.TaskGroup() as tasks:
        loading = tasks.create_task(load(services_of(fleet), wanted, ANONYMOUS))
        await asyncio.sleep(0)
        fleet.grant()
        if client_leaves:
            loading.cancel()
    assert loading.cancelled() is client_leaves
    assert fleet.in_flight == 0


async def test_a_begun_load_keeps_no_lease() -> None:
    """The lease is given back as soon as the model is ready; a refusal then has no reader."""
    fleet = OneLeaseFleet()
    wanted = LeaseRequest(A, ClientId("x"))
    begin_load(services_of(fleet), wanted, ANONYMOUS)
    fleet.grant()
    assert fleet.in_flight == 0
    assert fleet.waiter is not None
    fleet.waiter.on_refused(Fail(RequestId(1), Reason.LOAD_FAILED))


async def test_a_load_that_is_refused_at_once() -> None:
    """What is known before the answer is its error."""

    class FullFleet(OneLeaseFleet):
        def ask(self, request: LeaseRequest, waiter: LeaseWaiter) -> None:
            del request
            waiter.on_refused(Fail(RequestId(1), Reason.QUEUE_FULL))

    with pytest.raises(UnavailableError, match="too many requests"):
        begin_load(services_of(FullFleet()), LeaseRequest(A, ClientId("x")), ANONYMOUS)


@pytest.mark.parametrize(("failed", "told"), [((), 0), ((B,), 1)])
async def test_watchers_see_that_an_unload_resets_failures(
    failed: tuple[ModelId, ...], told: int
) -> None:
    """The statuses are published again where a model had failed, and only there."""
    fleet, published = FailedFleet(*failed), list[str]()
    events: Any = SimpleNamespace(publish_statuses=lambda: published.append("modelStatus"))
    await unload(cast("Fleet", fleet), events, [A, B], force=True)
    assert fleet.unloaded == [([A, B], True)]
    assert len(published) == told
