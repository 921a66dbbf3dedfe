"""The part of the program's services that requests to models use.

`Services` fulfils these protocols; a unit test gives a stand-in. They are read at the moment of
use, because a reload or a hand-over replaces what they name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio

    from modelswap.api.snapshot import ActiveConfig
    from modelswap.fleet import Fleet, RemoteFleet
    from modelswap.http import SpoolFolders
    from modelswap.observe.activity.completion_batcher import CompletionBatcher
    from modelswap.observe.activity.inflight import Inflight
    from modelswap.observe.captures import Captures
    from modelswap.observe.events import EventBus
    from modelswap.observe.logs.logs import Logger, Logs


class RecordServices(Protocol):
    """Where the record of a request goes."""

    bus: EventBus
    captures: Captures
    completions: CompletionBatcher
    inflight: Inflight


class RoutingState(Protocol):
    """What beside the configuration decides which model a request means."""

    profile: str | None
    fleet: Fleet | RemoteFleet


class ProxyServices(RecordServices, RoutingState, Protocol):
    """What a request to a model needs."""

    loop: asyncio.AbstractEventLoop
    config: ActiveConfig
    spool: SpoolFolders | None
    log: Logger
    logs: Logs
    shows_requests: bool
