"""Watches the memory of devices and models, and tells the decisions what changed.

It reads when a model starts, is ready or has exited, when a request is to load a model, every few seconds
while something runs, and more often while a request waits.

Guarantees: nothing blocks the event loop. A request waits for a reading or a prediction at most
`early.MOMENT`; then it is decided by what is known.
Does not: read when nothing runs and no request asks.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from modelswap.core.models.lifecycle import LEAVING, Phase
from modelswap.core.placement.policy import ANYWHERE, NO_FACTS, Facts
from modelswap.units import Bytes, Seconds

from . import accounting, shortage
from .changes import matter
from .early import EarlyRequests
from .reading import Reading, read
from .state import MemoryState, ModelMemory
from .worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from modelswap.config.plan import Plan
    from modelswap.core.failure import Failure
    from modelswap.core.placement.policy import DeviceId, DevicePool, Placement
    from modelswap.core.spec import ModelId
    from modelswap.devices.memory import DeviceMemory, DeviceReader
    from modelswap.memory.estimate import Estimate

    from .model_needs import ModelNeeds

PERIOD: Final = Seconds(5.0)
"""Between two readings while something runs: growth and other programs are slower than loads."""
PERIOD_WAITING: Final = Seconds(0.25)
"""While a request waits: it is to go on as soon as there is room, and a reading takes a few milliseconds."""
FRESH: Final = Seconds(1.0)
"""A load is decided by a reading that is not older."""
UP: Final = frozenset({Phase.STARTING, Phase.READY})


class Host(Protocol):
    """What the watch has to know of the fleet, and whom it tells."""

    def servers(self) -> Mapping[ModelId, tuple[Phase, int | None]]:
        """Return phase and pid of each model that may have a process."""
        ...

    def is_waited_for(self) -> bool:
        """Say whether a request is queued."""
        ...

    def reload_times(self) -> Mapping[ModelId, Seconds]: ...
    def on_facts(self, facts: Facts) -> None: ...
    def on_trouble(self, text: str) -> None: ...


class MemoryWatch:
    def __init__(self, host: Host, reader: DeviceReader, needs: ModelNeeds) -> None:
        self._host = host
        self._reader = reader
        self._needs = needs
        self._loop = asyncio.get_running_loop()
        self._worker = Worker(self._loop)
        self._early = EarlyRequests(self._loop)
        self._timer: asyncio.TimerHandle | None = None
        self._is_reading = False
        self._is_stale = False
        """Something happened since the reading that is under way began."""
        self._asked: set[ModelId] = set()
        """Whose prediction is under way."""
        self._read_at: Seconds | None = None
        self._problem = ""
        self._devices: tuple[DeviceMemory, ...] = ()
        self._pools: tuple[DevicePool, ...] = ()
        self._measured: dict[ModelId, Mapping[DeviceId, Bytes]] = {}
        self._placements: dict[ModelId, Placement] = {}
        self._held: dict[ModelId, Mapping[DeviceId, Bytes]] = {}
        self._facts = NO_FACTS
        self._is_closed = False

    @property
    def _now(self) -> Seconds:
        return Seconds(self._loop.time())

    # News of the fleet

    def prepare(self, model: ModelId, then: Callable[[], None]) -> None:
        """Call *then* when the decision about a load of the model can be made: now, or in a moment."""
        phase = self._host.servers().get(model, (Phase.STOPPED, None))[0]
        if phase in UP or self._is_prepared(model):
            self._decide(then)
            return
        self._early.add(partial(self._is_prepared, model), partial(self._decide, then))
        if not self._is_fresh():
            self.read()
        self._predict(model)

    def release_early(self) -> None:
        """Have everything decided that waits for a reading or a prediction."""
        self._early.release_all()

    def on_spawn(self, model: ModelId, placement: Placement) -> None:
        """Set aside what was promised to a model that starts now."""
        self._placements[model] = placement
        self._measured.pop(model, None)
        self._publish()

    def on_phase(self, model: ModelId, phase: Phase) -> None:
        """Take note of a phase; most are a reason to read."""
        if phase is Phase.STOPPED:
            for known in (self._placements, self._measured, self._held):
                known.pop(model, None)
        elif phase in UP:
            self._predict(model)  # of one that was found running
        if phase in UP or phase is Phase.STOPPED:
            self.read()

    def on_out_of_memory(self, model: ModelId, why: Failure) -> str:
        """Raise the need of a model that ran out of memory while it started.

        Return what it needs and what it could have, in words; empty: not known.
        """
        placement = self._placements.get(model, ANYWHERE)
        need = self._needs.of(model)
        used = {*need.fixed, *placement.devices, *(d for d, _ in placement.promised)}
        others = accounting.added(held for m, held in self._held.items() if m != model)
        pools = {pool.id: pool for pool in self._pools if pool.id in used}
        had = {
            name: Bytes(max(0, pool.room - others.get(name, 0))) for name, pool in pools.items()
        }
        most = {name: Bytes(max(0, p.total - p.reserve)) for name, p in pools.items()}
        self._needs.correct(model, shortage.corrected(need, why.text, had, most))
        self._publish()
        return ""

    def replace(self, plan: Plan) -> None:
        """Go on with another configuration."""
        self._needs.replace(plan)
        self._early.release_all()
        self._publish()
        self.read()

    def close(self) -> None:
        self._is_closed = True
        self._early.release_all()
        if self._timer is not None:
            self._timer.cancel()

    # Questions

    def state(self) -> MemoryState:
        """Return what is known now."""
        names = {*self._needs.known(), *self._held}
        return MemoryState(
            is_in_use=True,
            facts=self._facts,
            devices=self._devices,
            models={model: self._memory_of(model) for model in sorted(names)},
            read_at=self._read_at,
            problem=self._problem,
        )

    def _memory_of(self, model: ModelId) -> ModelMemory:
        return ModelMemory(
            need=self._needs.of(model),
            predicted=self._needs.predicted(model),
            learned=self._needs.learned(model),
            measured=self._measured.get(model, {}),
            held=self._held.get(model, {}),
        )

    async def refresh(self, models: Iterable[ModelId]) -> MemoryState:
        """Read the devices and predict what was not asked for yet; return all, after a moment at most."""
        wanted = list(models)
        done = asyncio.Event()
        self._early.add(lambda: all(map(self._is_prepared, wanted)) and self._is_fresh(), done.set)
        if not self._is_fresh():
            self.read()
        for model in wanted:
            self._predict(model)
        self._early.release()
        await done.wait()
        return self.state()

    # Reading

    def read(self) -> None:
        """Read as soon as possible; one reading at a time."""
        if self._is_reading or self._is_closed:
            self._is_stale = True
            return
        self._is_reading, self._is_stale = True, False
        pids = {m: pid for m, (_, pid) in self._host.servers().items() if pid is not None}
        self._worker.run(
            partial(read, self._reader, pids),
            partial(self._on_reading, pids),
            self._on_reading_failed,
        )

    def _on_reading(self, pids: Mapping[ModelId, int], reading: Reading) -> None:
        self._problem = ""
        self._devices = reading.devices
        servers = self._host.servers()
        for model, sizes in reading.measured.items():
            phase, pid = servers.get(model, (Phase.STOPPED, None))
            if pid != pids[model]:
                continue  # another server by now
            if phase not in LEAVING:
                self._measured[model] = sizes
            if phase is Phase.READY and sizes:
                self._needs.learn(model, sizes)
        ours = accounting.added(
            self._measured.get(model, reading.measured.get(model, {})) for model in pids
        )
        self._pools = accounting.pools(
            reading.devices, self._needs.limits, ours, reading.processes
        )
        self._after_reading()

    def _on_reading_failed(self, error: Exception) -> None:
        text = str(error) or repr(error)
        if text != self._problem:
            self._host.on_trouble(f"the memory of the devices cannot be read: {text}")
        self._problem = text
        self._after_reading()

    def _after_reading(self) -> None:
        self._is_reading = False
        self._read_at = self._now
        self._publish()
        self._early.release()
        if self._is_stale:
            self.read()
        self._schedule()

    def _schedule(self) -> None:
        """Set the time of the next reading, if there is a reason for one."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._is_closed or self._is_reading:
            return
        if self._host.is_waited_for():
            self._timer = self._loop.call_later(PERIOD_WAITING, self.read)
        elif self._host.servers():
            self._timer = self._loop.call_later(PERIOD, self.read)

    def _is_fresh(self) -> bool:
        return self._read_at is not None and self._now - self._read_at <= FRESH

    def _is_prepared(self, model: ModelId) -> bool:
        return self._is_fresh() and self._needs.is_known(model)

    # Needs

    def _predict(self, model: ModelId) -> None:
        if model in self._asked or self._needs.is_known(model):
            return
        self._asked.add(model)
        self._worker.run(
            self._needs.prediction(model),
            partial(self._on_predicted, model),
            lambda _: self._on_predicted(model, None),
        )

    def _on_predicted(self, model: ModelId, estimate: Estimate | None) -> None:
        self._asked.discard(model)
        self._needs.on_predicted(model, estimate)
        self._publish()
        self._early.release()

    # Facts

    def _decide(self, then: Callable[[], None]) -> None:
        self._publish(is_waited_for=True)
        then()
        self._schedule()

    def _publish(self, *, is_waited_for: bool = False) -> None:
        """Tell the decisions what changed, if it could change them."""
        servers = self._host.servers()
        for model, (phase, _) in servers.items():
            if phase not in LEAVING or model not in self._held:
                self._held[model] = self._held_by(model)
        facts = Facts(
            epoch=self._facts.epoch + 1,
            pools=self._pools,
            needs=self._needs.known(),
            held={model: self._held[model] for model in servers},
            reload=self._host.reload_times(),
        )
        is_waited_for = is_waited_for or self._host.is_waited_for()
        if self._read_at is not None and matter(self._facts, facts, is_waited_for=is_waited_for):
            self._facts = facts
            self._host.on_facts(facts)

    def _held_by(self, model: ModelId) -> Mapping[DeviceId, Bytes]:
        measured = self._measured.get(model, {})
        placement = self._placements.get(model, ANYWHERE)
        return accounting.larger(
            measured, accounting.promised(self._needs.of(model), placement, measured)
        )
