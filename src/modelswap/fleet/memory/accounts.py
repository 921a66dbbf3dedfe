"""The accounts of memory: what each server holds, and how much of each device there is for all of them.

Units: bytes; seconds of the loop's clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelswap.core.models.lifecycle import Phase
from modelswap.units import Bytes

from . import accounting
from .runs import Run

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modelswap.config.plan import DeviceSettings
    from modelswap.core.placement.policy import DeviceId, DevicePool, Need, Placement
    from modelswap.core.spec import ModelId
    from modelswap.devices.memory import DeviceMemory
    from modelswap.units import Seconds

    from .readings.reading import Reading

    Settings = Mapping[DeviceId, DeviceSettings]
    Servers = Mapping[ModelId, tuple[Phase, int | None]]


class Accounts:
    def __init__(self) -> None:
        self.runs: dict[ModelId, Run] = {}
        self.devices: tuple[DeviceMemory, ...] = ()
        """At the last reading."""
        self.pools: tuple[DevicePool, ...] = ()
        self._ours: Mapping[DeviceId, Bytes] = {}
        """What no other program could have then, because our servers held it."""
        self._processes: frozenset[int] = frozenset()
        """Those of our servers then."""

    def begin(self, model: ModelId, placement: Placement, now: Seconds) -> None:
        """Open the account of a server that starts."""
        self._others_changed(model)
        self.runs[model] = Run(now, placement, self.devices, is_from_start=True)

    def run(self, model: ModelId, now: Seconds) -> Run:
        """Return the server's account; one that is not known was found running."""
        found = self.runs.get(model)
        if found is None:
            found = self.runs[model] = Run(now)
        return found

    def end(self, model: ModelId) -> None:
        """Close the account of a server that has exited."""
        self._others_changed(model)
        self.runs.pop(model, None)

    def _others_changed(self, model: ModelId) -> None:
        for other, run in self.runs.items():
            if other != model:
                run.measurement.on_others_changed()

    def enter(
        self, reading: Reading, measured: Mapping[ModelId, int], begun: Seconds, servers: Servers
    ) -> list[ModelId]:
        """Enter a reading of the *measured* servers (model → pid); return those that it is about still.

        *begun*: when the reading began. *servers*: those of now.
        """
        self.devices, self._processes = reading.devices, reading.processes
        same = [m for m, (_, pid) in servers.items() if pid is not None and measured.get(m) == pid]
        for model in same:
            run = self.run(model, begun)
            if servers[model][0] is Phase.READY and not run.is_ready:
                run.measurement.on_ready(begun)  # it was ready before anybody looked
            run.on_sample(begun, reading.samples[model])
        self._ours = accounting.added(self.runs[model].own for model in same)
        return same

    def count_pools(self, settings: Settings) -> None:
        """Make the pools of the last reading as the configuration has them."""
        self.pools = accounting.pools(self.devices, settings, self._ours, self._processes)

    def held(self) -> dict[ModelId, Mapping[DeviceId, Bytes]]:
        return {model: run.held for model, run in self.runs.items()}

    def rooms(
        self, model: ModelId, need: Need
    ) -> tuple[dict[DeviceId, Bytes], dict[DeviceId, Bytes]]:
        """Return what the model could have of each device that it uses: now, and if it ran alone."""
        placement = self.runs[model].placement
        used = {*need.fixed, *placement.devices, *(device for device, _ in placement.promised)}
        others = accounting.added(run.held for one, run in self.runs.items() if one != model)
        pools = [pool for pool in self.pools if pool.id in used]
        now = {pool.id: Bytes(max(0, pool.room - others.get(pool.id, 0))) for pool in pools}
        alone = {pool.id: Bytes(max(0, pool.total - pool.reserve)) for pool in pools}
        return now, alone
