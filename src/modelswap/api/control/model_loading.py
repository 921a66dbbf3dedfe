"""Loads and unloads models on a client's order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelswap.api.errors.error_mapping import wait_error

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from modelswap.api.auth.identity import Identity
    from modelswap.api.fleet_events import FleetEvents
    from modelswap.api.services import Services
    from modelswap.core.commands import Fail, LeaseRequest
    from modelswap.core.spec import ModelId
    from modelswap.fleet import Fleet, ModelServer, RemoteFleet


async def load(services: Services, wanted: LeaseRequest, identity: Identity) -> None:
    """Start a model and return when it is ready; a `ReplyError` says what *identity* may know.

    It ends without a lease, also when the client leaves as the model gets ready.
    """
    fleet = services.fleet
    fleet.retry_pull(wanted.model)  # an order does not wait for the pause after a failure
    waiter = _LoadWaiter(services, wanted.model, identity)
    ticket = fleet.ask(wanted, waiter)
    try:
        await waiter.result
    finally:
        fleet.cancel(ticket)


def begin_load(services: Services, wanted: LeaseRequest, identity: Identity) -> None:
    """Start a model without waiting for it; a `ReplyError` where it is refused at once."""
    services.fleet.retry_pull(wanted.model)
    waiter = _LoadWaiter(services, wanted.model, identity)
    services.fleet.ask(wanted, waiter)
    if not waiter.result.cancel():  # it is known already
        waiter.result.result()


async def unload(
    fleet: Fleet | RemoteFleet, events: FleetEvents, models: Sequence[ModelId], *, force: bool
) -> None:
    """Unload and return when they are gone; this resets their failures, and watchers see that."""
    failed = any(fleet.failure(model) is not None for model in models)
    await fleet.unload(models, force=force)
    if failed:
        events.publish_statuses()


class _LoadWaiter:
    """Releases the lease at once: the task may be cancelled before it reads `result`, or not wait for it."""

    def __init__(self, services: Services, model: ModelId, identity: Identity) -> None:
        self._identity = identity
        self.result: asyncio.Future[None] = services.loop.create_future()
        self._fleet = services.fleet
        self._last_lines = lambda: services.fleet_events.last_lines(model)

    def on_granted(self, server: ModelServer) -> None:
        self._fleet.release(server.model.id)
        if not self.result.done():
            self.result.set_result(None)

    def on_refused(self, refused: Fail) -> None:
        if not self.result.done():
            self.result.set_exception(wait_error(refused, self._identity, self._last_lines))

    def on_position(self, position: int) -> None:
        """The position in the queue is not shown."""
