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
    from collections.abc import Mapping

    from modelswap.config.plan import Model, Plan
    from modelswap.core.placement.policy import DeviceId
    from modelswap.core.spec import ModelId
    from modelswap.memory.estimate import Estimate
    from modelswap.units import Bytes

    from .fleet_memory import FleetHost, MemorySources


def make_watch(
    plan: Plan, sources: MemorySources, host: FleetHost, unserved: set[ModelId]
) -> MemoryWatch:
    """Return a watch that has begun to open its store; it keeps *unserved*, for `FleetMemory`."""
    loop = asyncio.get_running_loop()
    reader = MachineReader() if sources.reader is None else sources.reader()

    def warn(text: str) -> None:
        loop.call_soon_threadsafe(host.on_note, "warn", text)

    store = NeedStore(sources.store or Path(os.devnull), warn)
    needs = ModelNeeds(plan, store, predicted)
    is_kept = sources.store is not None
    return MemoryWatch(plan, host, reader, store, needs, unserved=unserved, is_kept=is_kept)


def predicted(model: Model, gpus: Mapping[DeviceId, Bytes]) -> Estimate | None:
    """Predict what the model's server takes; `None`: nothing can be said. It reads files."""
    from modelswap.memory.predict import predict  # noqa: PLC0415 - most needs are declared or learned

    return predict(model.argv, model.env, gpus=bool(gpus), gpu_totals=gpus)
