"""Makes the store that the settings describe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .store import Store

if TYPE_CHECKING:
    from modelswap.config.plan import Settings
    from modelswap.observe.captures import Captures
    from modelswap.observe.events import EventBus
    from modelswap.observe.logs.logs import Logger


def open_store_of(settings: Settings, captures: Captures, log: Logger, bus: EventBus) -> Store:
    """Make the store that the settings describe; it is not open yet."""
    return Store(
        captures,
        path=settings.store_path,
        max_rows=settings.metrics_max_in_memory,
        retention=settings.store_retention,
        file_rows=settings.store_rows,
        warn=log.warning,
        on_recorded=lambda ids: bus.publish_all("activity", ({"id": number} for number in ids)),
    )
