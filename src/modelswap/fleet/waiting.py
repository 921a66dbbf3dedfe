"""Waiting for a lease: the ticket, and what hears of its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from modelswap.deferred import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelswap.core.commands import Fail
    from modelswap.core.spec import ModelId, RequestId

    from .model_server import ModelServer


class LeaseWaiter(Protocol):
    """Waits for the lease of one request."""

    def on_granted(self, server: ModelServer) -> None:
        """Take the lease; `Fleet.release` ends it."""

    def on_refused(self, refused: Fail) -> None:
        """Learn that the wait ended without a lease."""

    def on_position(self, position: int) -> None:
        """Learn the place in the queue; 1 is the next."""


@dataclass(slots=True, eq=False)
class Ticket:
    """A place in the queue. `Fleet.cancel` gives it up."""

    id: RequestId
    model: ModelId
    waiter: LeaseWaiter


class DetachedWaiter:
    """Takes the place of a waiter that left: the load goes on, and the lease is given back at once."""

    def __init__(self, release: Callable[[ModelId], None]) -> None:
        self._release = release

    def on_granted(self, server: ModelServer) -> None:
        self._release(server.model.id)

    def on_refused(self, refused: Fail) -> None:
        """Do nothing: no client waits."""

    def on_position(self, position: int) -> None:
        """Do nothing, as above."""
