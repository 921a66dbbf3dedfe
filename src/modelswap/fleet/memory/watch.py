"""Watches the memory of devices and models, and tells the decisions what changed.

It reads when a model starts, is ready or has exited, when a request is to load a model, every few seconds
while a model loads or works, and more often while a request waits for room.

Guarantees: nothing blocks the event loop. A request waits for a reading or a prediction at most
`early.MOMENT`; then it is decided by what is known.
Does not: read while models rest and no request asks.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from modelswap.core.explaining.quantities import size_text
from modelswap.core.models.lifecycle import LEAVING, UP, Phase
from modelswap.core.placement.policy import NO_FACTS, Facts
from modelswap.memory.measuring import WHILE_USED
from modelswap.units import Seconds

from .accounts import Accounts
from .changes import matter
from .early import EarlyRequests
from .learning.predictions import Predictions
from .learning.shortage import corrections
from .readings.readings import Readings, Subjects
from .readings.worker import Worker
from .state import MemoryState, ModelMemory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from modelswap.config.plan import Plan
    from modelswap.core.failure import Failure
    from modelswap.core.placement.policy import DeviceId, Placement
    from modelswap.core.spec import ModelId
    from modelswap.devices.memory import DeviceMemory
    from modelswap.memory.need_store import NeedStore

    from .host import Host
    from .learning.model_needs import ModelNeeds
    from .readings.reading import MemoryReader, Reading
    from .runs import Run

PERIOD_WAITING: Final = Seconds(0.25)
"""While a request waits for room: it is to go on as soon as there is, and a reading takes a few milliseconds."""
CLOSING: Final = Seconds(1.0)
"""For the last write of what was learned; a disk that takes longer does not delay the end."""


class MemoryWatch:
    def __init__(
        self,
        plan: Plan,
        host: Host,
        reader: MemoryReader,
        store: NeedStore,
        needs: ModelNeeds,
        *,
        unserved: set[ModelId],
    ) -> None:
        """*unserved* is kept up to date: the models whose first end of a request is to be told."""
        self._plan = plan
        self._host = host
        self._store = store
        self._needs = needs
        self._unserved = unserved
        self._loop = loop = asyncio.get_running_loop()
        self._worker = Worker(loop)
        self._early = EarlyRequests(loop)
        self._predictions = Predictions(needs, self._worker, self._on_known)
        self._readings = Readings(
            reader,
            self._worker,
            loop,
            subjects=self._subjects,
            on_reading=self._on_reading,
            on_end=self._after_reading,
            on_trouble=self._on_trouble,
        )
        self._accounts = Accounts()
        self._unpredicted: set[ModelId] = set()
        """Those whose need is to be predicted after the first reading."""
        self._missing: set[tuple[ModelId, DeviceId]] = set()
        """Devices that are declared and not there, as they were told."""
        self._facts = NO_FACTS
        self._is_stored = False
        """The store has been read."""
        self._worker.run(store.open, self._on_stored, self._on_stored)

    @property
    def is_in_use(self) -> bool:
        """Whether the policy in force decides by memory."""
        return self._plan.memory is not None

    def _on_stored(self, _: object) -> None:
        self._is_stored = True
        self._needs.update()
        self._on_known()

    def _on_known(self) -> None:
        """Go on with more needs known."""
        self._publish()
        self._early.release()

    # News of the fleet

    def open(self) -> None:
        self._readings.read()

    def prepare(self, models: Iterable[ModelId], then: Callable[[], None]) -> None:
        """Call *then* when loads of the models can be decided: now, or in a moment."""
        servers = self._host.servers()
        cold = [m for m in models if m not in servers or servers[m][0] not in UP]
        if not (cold and self.is_in_use):
            then()
        elif self._is_prepared(cold):
            self._decide(then)
        else:
            self._early.add(partial(self._is_prepared, cold), partial(self._decide, then))
            if not self._readings.is_fresh:
                self._readings.read()
            self._predict(cold)

    def _predict(self, models: Iterable[ModelId]) -> None:
        """Have predicted what is not known of the models, as soon as the devices are."""
        self._unpredicted.update(models)
        if self._readings.read_at is not None:
            self._predictions.ask(self._unpredicted)
            self._unpredicted.clear()

    def _is_prepared(self, models: Iterable[ModelId]) -> bool:
        is_read = self._readings.is_fresh and self._is_stored
        return is_read and all(map(self._needs.is_settled, models))

    def _decide(self, then: Callable[[], None]) -> None:
        self._publish(is_certain=True)
        then()
        if self._host.is_room_waited_for():
            self._schedule()

    def settle(self) -> None:
        """Have everything decided now that waits for a reading, and read no more until asked."""
        self._early.release_all()
        self._readings.cancel()

    def on_spawn(self, model: ModelId, placement: Placement) -> None:
        """Set aside what was promised to a model that starts now."""
        self._accounts.begin(model, placement, self._readings.now)
        self._publish()

    def on_phase(self, model: ModelId, phase: Phase) -> None:
        """Take note of a phase; most are a reason to read."""
        now = self._readings.now
        run = self._accounts.run(model, now)
        if phase in LEAVING:
            run.on_stopping(now)
            return
        if phase is Phase.STOPPED:
            self._on_stopped(model, run)
        elif phase is Phase.READY and not run.is_ready:
            run.measurement.on_ready(now)
            self._unserved.add(model)
            if run.is_from_start and run.measurement.load is not None:
                self._needs.learn_load(model, run.measurement.load)
        elif self.is_in_use:
            self._predict((model,))  # also one whose need is known: its measurement asks for it
        if self.is_in_use:
            self._loop.call_soon(self._readings.read)  # after the answers to requests

    def on_served(self, model: ModelId) -> None:
        """Measure a model whose first request has ended: now it has all that it needs."""
        self._unserved.discard(model)
        self._accounts.run(model, self._readings.now).measurement.on_request_ended()
        self._loop.call_soon(self._readings.read)

    def _on_stopped(self, model: ModelId, run: Run) -> None:
        self._unserved.discard(model)
        if run.is_ready and run.stopping_since is not None:
            self._needs.learn_stop(model, Seconds(self._readings.now - run.stopping_since))
        self._accounts.end(model)
        self._needs.on_exited(model)
        self._flush()

    def on_out_of_memory(self, model: ModelId, why: Failure) -> str:
        """Raise the need of a model that ran out of memory while it started.

        Return what it needs and what it could have, in words; empty: not known.
        """
        self._accounts.run(model, self._readings.now)
        need = self._needs.of(model)
        had, alone = self._accounts.rooms(model, need)
        least = corrections(need, why.text, had, alone)
        self._needs.correct(model, least)
        self._flush()
        self._publish()
        said = (
            f"{size_text(size)} of {device}, where {size_text(had[device])} of {size_text(alone[device])} were left"
            for device, size in least.items()
        )
        return " and ".join(said)

    def replace(self, plan: Plan) -> None:
        """Go on with another configuration."""
        self._plan = plan
        self._needs.replace(plan)
        self._count_pools()
        self._publish(is_certain=True)
        if self.is_in_use:
            self._readings.read()

    async def close(self) -> None:
        self.settle()
        self._readings.close()
        closed = asyncio.Event()
        self._worker.run(self._store.close, lambda _: closed.set(), lambda _: closed.set())
        try:
            async with asyncio.timeout(CLOSING):
                await closed.wait()
        except TimeoutError:
            self._host.on_note("warn", "what was learned of memory could not be written in time")

    # Questions

    @property
    def devices(self) -> tuple[DeviceMemory, ...]:
        return self._accounts.devices

    def state(self) -> MemoryState:
        """Return what is known now."""
        names = {*self._plan.models, *self._accounts.runs}
        return MemoryState(
            is_in_use=self.is_in_use,
            facts=self._facts,
            pools=self._accounts.pools,
            devices=self._accounts.devices,
            models={model: self._memory_of(model) for model in sorted(names)},
            read_at=self._readings.read_at,
            problem=self._readings.problem,
        )

    def _memory_of(self, model: ModelId) -> ModelMemory:
        run = self._accounts.runs.get(model)
        return ModelMemory(
            need=self._needs.of(model),
            predicted=self._needs.predicted(model),
            learned=self._needs.learned(model),
            measured={} if run is None else run.measurement.held,
            held={} if run is None else run.held,
        )

    async def refresh(self, models: Iterable[ModelId]) -> MemoryState:
        """Read the devices and predict what was not predicted yet; return all, after a moment at most."""
        begun = self._readings.now
        await self._until(lambda: (self._readings.read_at or 0) >= begun, self._readings.read)
        wanted = list(models)
        await self._until(
            lambda: all(map(self._needs.is_predicted, wanted)),
            partial(self._predictions.ask, wanted),
        )
        return self.state()

    async def _until(self, is_known: Callable[[], bool], ask: Callable[[], None]) -> None:
        """Ask, and wait until it is known, a moment at most."""
        known = asyncio.Event()
        self._early.add(is_known, known.set)
        ask()
        self._early.release()
        await known.wait()

    # Reading

    def _subjects(self) -> Subjects:
        self._note_use()
        pids = {m: pid for m, (_, pid) in self._host.servers().items() if pid is not None}
        return Subjects(pids, with_holders=self._host.is_room_waited_for() or not self.is_in_use)

    def _on_reading(self, reading: Reading, pids: Mapping[ModelId, int], begun: Seconds) -> None:
        for model, run in self._accounts.runs.items():
            run.measurement.reclaimable = self._needs.reclaimable(model)
        for model in self._accounts.enter(reading, pids, begun, self._host.servers()):
            self._learn(model, self._accounts.runs[model])
        self._count_pools()

    def _count_pools(self) -> None:
        self._accounts.count_pools(self._plan.devices)
        self._needs.on_pools(self._accounts.pools)
        if not (self.is_in_use and self._accounts.pools):
            return
        before, self._missing = self._missing, self._needs.missing_devices()
        for model, device in sorted(self._missing - before):
            unknown = f"{device}, of which nothing is known: it does not count"
            self._host.on_note("warn", f"{model} declares memory of {unknown}")

    def _on_trouble(self, text: str) -> None:
        self._host.on_note("warn", f"the memory of the devices cannot be read: {text}")

    def _after_reading(self) -> None:
        self._predict(())
        self._on_known()
        self._schedule()

    def _learn(self, model: ModelId, run: Run) -> None:
        if run.is_ready and not run.measurement.is_served:
            self._unserved.add(model)
        if run.measurement.is_measured:
            self._needs.on_measured(model, dict(run.measurement.peaks))
        peaks = run.measurement.worth_storing()
        if peaks is not None:
            self._needs.learn(model, peaks, is_new_run=not run.measurement.is_stored)
            run.measurement.on_stored(peaks)
            self._flush()

    def _note_use(self) -> None:
        """Tell the measurements which models have worked since the last reading."""
        for model, run in self._accounts.runs.items():
            run.note_use(self._host.used(model))

    def _schedule(self) -> None:
        """Set the time of the next look, if there is a reason for one."""
        if not self.is_in_use:
            return
        if self._host.is_room_waited_for():
            self._readings.call_later(PERIOD_WAITING, self._readings.read)
        elif self._accounts.runs:
            self._readings.call_later(self._pause(), self._look)

    def _pause(self) -> Seconds:
        """Return how long until a model that loads or works is to be measured, or looked at again."""
        pauses = [WHILE_USED]
        for model, run in self._accounts.runs.items():
            in_flight = self._host.in_flight(model)
            pause = run.measurement.next_sample(self._readings.now, in_flight=in_flight)
            if pause is not None:
                pauses.append(pause)
        return min(pauses)

    def _look(self) -> None:
        self._note_use()
        if self._pause() > 0:
            self._schedule()
        else:
            self._readings.read()

    def _flush(self) -> None:
        if self._store.is_changed:
            self._worker.run(self._store.flush, _nothing, _nothing)

    # Facts

    def _publish(self, *, is_certain: bool = False) -> None:
        """Tell the decisions what changed, if it could change them; *is_certain*: noise counts, too."""
        if self._readings.read_at is None:
            return
        for model, run in self._accounts.runs.items():
            run.count(self._needs.of(model))
        facts = NO_FACTS
        if self.is_in_use:
            facts = Facts(
                pools=self._accounts.pools,
                needs=self._needs.known,
                held=self._accounts.held(),
                reload=self._needs.reload,
            )
        is_fine = is_certain or self._host.is_room_waited_for()
        if matter(self._facts, facts, is_waited_for=is_fine):
            self._facts = replace(facts, epoch=self._facts.epoch + 1)
            self._host.on_facts(self._facts)


def _nothing(_: object = None) -> None:
    """Nothing follows: the store tells of its own failures."""
