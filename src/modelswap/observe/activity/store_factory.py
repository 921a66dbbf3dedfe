"""Builds the activity store that the settings describe."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from .store import Store

if TYPE_CHECKING:
    from collections.abc import Iterable

    from modelswap.config.plan import Settings
    from modelswap.observe.captures import Captures
    from modelswap.observe.events import EventBus
    from modelswap.observe.logs.logs import Logger


def open_store_of(settings: Settings, captures: Captures, log: Logger, bus: EventBus) -> Store:
    def publish(ids: Iterable[int]) -> None:
        bus.publish_all("activity", ({"id": number} for number in ids))

    return Store(
        captures,
        path=settings.store_path,
        max_rows=settings.metrics_max_in_memory,
        retention=settings.store_retention,
        file_rows=settings.store_rows,
        warn=log.warning,
        on_recorded=publish,
    )


def most_captures(settings: Settings) -> int:
    """How many captures can be found: those of the rows in memory, or of any row in a file."""
    return settings.metrics_max_in_memory if settings.store_path is None else sys.maxsize
