"""Makes the watch of memory from its parts: the reader of devices, the store, the predictor."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from modelswap.devices.capacity.reader import MachineReader
from modelswap.memory.need_store import NeedStore

from .learning.model_needs import ModelNeeds
from .watch import MemoryWatch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from modelswap.config.plan import Model, Plan
    from modelswap.core.placement.policy import DeviceId
    from modelswap.core.spec import ModelId
    from modelswap.memory.estimate import Estimate
    from modelswap.units import Bytes

    from .host import Host
    from .readings.reading import MemoryReader


def make_watch(
    plan: Plan,
    make_reader: Callable[[], MemoryReader] | None,
    path: Path | None,
    host: Host,
    unserved: set[ModelId],
) -> MemoryWatch:
    """Return a watch that has begun to open its store; it keeps *unserved*, for `FleetMemory`.

    *make_reader*: `None`: this machine's. *path*: of the store's file; `None`: nothing is kept.
    """
    loop = asyncio.get_running_loop()
    reader = MachineReader() if make_reader is None else make_reader()

    def warn(text: str) -> None:
        loop.call_soon_threadsafe(host.on_note, "warn", text)

    store = NeedStore(path, warn)
    needs = ModelNeeds(plan, store, predicted)
    return MemoryWatch(plan, host, reader, store, needs, unserved=unserved)


def predicted(model: Model, gpus: Mapping[DeviceId, Bytes]) -> Estimate | None:
    """Predict what the model's server takes; `None`: nothing can be said. It reads files."""
    from modelswap.memory.predict import predict  # noqa: PLC0415 - most needs are declared or learned

    return predict(model.argv, model.env, gpus)
