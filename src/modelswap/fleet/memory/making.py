"""Makes the watch of memory from its parts: the reader of devices, the store, the predictor."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

from modelswap.devices.capacity.reader import MachineReader
from modelswap.memory.need_store import NeedStore

from .learning.model_needs import ModelNeeds
from .watch import MemoryWatch

if TYPE_CHECKING:
    from modelswap.config.plan import Model, Plan
    from modelswap.memory.estimate import Estimate

    from .fleet_memory import FleetHost, MemorySources


def make_watch(plan: Plan, sources: MemorySources, host: FleetHost) -> MemoryWatch:
    """Return a watch that has begun to open its store."""
    loop = asyncio.get_running_loop()
    reader = MachineReader() if sources.reader is None else sources.reader()

    def warn(text: str) -> None:
        loop.call_soon_threadsafe(host.on_note, "warn", text)

    store = NeedStore(sources.store or Path(os.devnull), warn)
    needs = ModelNeeds(plan, store, predicted)
    return MemoryWatch(plan, host, reader, store, needs, is_kept=sources.store is not None)


def predicted(model: Model) -> Estimate | None:
    """Predict what the model's server takes; `None`: nothing can be said. It reads files."""
    del model
    return None
