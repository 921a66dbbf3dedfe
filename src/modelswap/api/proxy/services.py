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

    @property
    def bus(self) -> EventBus: ...
    @property
    def captures(self) -> Captures: ...
    @property
    def completions(self) -> CompletionBatcher: ...
    @property
    def inflight(self) -> Inflight: ...


class ProxyServices(RecordServices, Protocol):
    """What a request to a model needs."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...
    @property
    def fleet(self) -> Fleet | RemoteFleet: ...
    @property
    def config(self) -> ActiveConfig: ...
    @property
    def profile(self) -> str | None: ...
    @property
    def spool(self) -> SpoolFolders | None: ...
    @property
    def log(self) -> Logger: ...
    @property
    def logs(self) -> Logs: ...
    @property
    def shows_requests(self) -> bool: ...
