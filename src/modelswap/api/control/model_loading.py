"""Loads and unloads models on a client's order.

Guarantees: a load ends without a lease, also for a client that leaves as the model gets ready.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelswap.api.errors.error_mapping import wait_error
from modelswap.core.commands import LeaseRequest

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from modelswap.api.auth.identity import Identity
    from modelswap.api.fleet_events import FleetEvents
    from modelswap.core.commands import Fail
    from modelswap.core.spec import ClientId, ModelId
    from modelswap.fleet import Fleet, ModelServer, RemoteFleet


async def load(
    loop: asyncio.AbstractEventLoop,
    fleet: Fleet | RemoteFleet,
    model: ModelId,
    client: ClientId,
    identity: Identity,
    *,
    no_swap: bool = False,
) -> None:
    """Start a model and return when it is ready; an error says what *identity* may know.

    Raises:
        ReplyError: it cannot be loaded now.
    """
    waiter = _LoadWaiter(loop, fleet, identity)
    ticket = fleet.ask(LeaseRequest(model, client, no_swap=no_swap), waiter)
    try:
        await waiter.result
    finally:
        fleet.cancel(ticket)


async def unload(
    fleet: Fleet | RemoteFleet, events: FleetEvents, models: Sequence[ModelId], *, force: bool
) -> None:
    """Unload and return when they are gone; this resets their failures, and watchers see that."""
    failed = any(fleet.failure(model) is not None for model in models)
    await fleet.unload(models, force=force)
    if failed:
        events.publish_statuses()


class _LoadWaiter:
    """Waits for the load alone.

    It releases the lease at once: the task that awaits `result` may be cancelled before it reads it.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, fleet: Fleet | RemoteFleet, identity: Identity
    ) -> None:
        self._identity = identity
        self.result: asyncio.Future[None] = loop.create_future()
        self._fleet = fleet

    def on_granted(self, server: ModelServer) -> None:
        self._fleet.release(server.model.id)
        if not self.result.done():
            self.result.set_result(None)

    def on_refused(self, refused: Fail) -> None:
        if not self.result.done():
            self.result.set_exception(wait_error(refused, self._identity))

    def on_position(self, position: int) -> None:
        """The position in the queue is not shown."""
