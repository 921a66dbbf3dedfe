"""Changes on disk are debounced before they cause a reload.

Guarantees: an ordinary change counts as soon as `watching` reports it. A change that removes every model
may be a file that is being written: it has to stay the same for `STABLE_POLLS` polls first.
Does not: load anything.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .watching import Watch

POLL_INTERVAL: Final = 0.5
"""Seconds between two polls; a poll is a few `stat` calls."""
STABLE_POLLS: Final = 10
"""Polls for which a file without models has to stay the same."""


async def watch_files(
    watch: Watch,
    *,
    takes_all: Callable[[], Awaitable[bool]],
    changed: Callable[[], None],
    warn: Callable[[str], None],
    every: float = POLL_INTERVAL,
) -> None:
    """Call `changed` for each change that counts; `takes_all` tells whether it removes every model."""
    still: int | None = None
    was_gone = False
    while True:
        await asyncio.sleep(every)
        if watch.has_changed():
            still = 0 if await _is_doubtful(takes_all) else STABLE_POLLS
            if still == 0:
                warn(
                    "the configuration on disk has no models any more; it is loaded "
                    f"when it has stood still for {POLL_INTERVAL * STABLE_POLLS:g} s"
                )
        elif still is not None:
            still = still + 1 if watch.is_stable else 0
        if still == STABLE_POLLS:
            still = None
            changed()
        if watch.is_gone and not was_gone:
            warn("the configuration file is missing; the running configuration stays")
        was_gone = watch.is_gone


async def _is_doubtful(takes_all: Callable[[], Awaitable[bool]]) -> bool:
    try:
        return await takes_all()
    except Exception:  # noqa: BLE001 - the reload loads again, and reports it
        return False
