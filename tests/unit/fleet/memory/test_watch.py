"""The watch between readings, needs and decisions: the real fleet, on a machine that does what the test says."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Self

import pytest

from modelswap.config.load import load
from modelswap.core.commands import LeaseRequest
from modelswap.core.failure import Cause, failure
from modelswap.core.placement.policy import RAM, NeedSource
from modelswap.core.spec import ClientId, ModelId, ServerId
from modelswap.fleet import Fleet, MemorySources
from modelswap.fleet.memory import early, watch
from modelswap.fleet.memory.readings import readings
from modelswap.launch.protocol import Exit, Handle
from modelswap.memory import measuring
from modelswap.units import Seconds
from support.hand_launcher import ADDRESS, Asker, HandLauncher, Notes
from support.scripted_machine import MIB, ScriptedMachine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

    from modelswap.config.plan import Plan
    from modelswap.core.placement.policy import DeviceId
    from modelswap.launch.protocol import LaunchSpec, Listener
    from modelswap.units import Bytes

A, B, C = ModelId("a"), ModelId("b"), ModelId("c")
ROOM = (
    "devices: {ram: {reserve: 0}}\n"
    "routing: {router: {use: memory, settings: {memory: {minResidency: 0}}}}\n"
)
"""All of the machine's 1,000 MiB."""


class ProcessLauncher(HandLauncher):
    """Starts a real process that does nothing; it is ready, and exits, when the test says so."""

    def __init__(self, listener: Listener) -> None:
        super().__init__(listener)
        self.processes: dict[ServerId, subprocess.Popen[bytes]] = {}

    def start(self, spec: LaunchSpec) -> None:
        self.orders.append(f"start {spec.server}")
        process = subprocess.Popen([sys.executable, "-I", "-S", "-c", "input()"], stdin=-1)
        self.processes[spec.server] = process
        handle = Handle(text="", pid=process.pid)
        asyncio.get_running_loop().call_soon(self.listener.on_started, spec.server, handle)

    def end_all(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.communicate()


def detail(asker: Asker) -> str:
    """Return what a request that was refused is told."""
    assert asker.refused is not None
    return asker.refused.detail


class Stage:
    """The fleet with models *a* of 400 MiB, *b* of 400 MiB, and *c*, of which nothing is known."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.machine = ScriptedMachine()
        self.made = 0
        self.notes = Notes()

    def plan(self, text: str = ROOM, *, a: int | None = 400, b: int | None = 400) -> Plan:
        def row(name: str, size: int | None) -> str:
            memory = "" if size is None else f", memory: {size}MiB"
            return f"  {name}: {{cmd: server {name} --port ${{PORT}}{memory}}}\n"

        file = self.directory / "config.yaml"
        file.write_text(f"{text}models:\n{row('a', a)}{row('b', b)}{row('c', None)}")
        loaded = load(file, None)
        assert loaded.plan is not None, loaded.lines()
        return loaded.plan

    def _reader(self) -> ScriptedMachine:
        self.made += 1
        return self.machine

    async def open(self, plan: Plan | None = None) -> Self:
        launchers: list[ProcessLauncher] = []

        def make(listener: Listener) -> ProcessLauncher:
            launchers.append(ProcessLauncher(listener))
            return launchers[-1]

        plan = plan or self.plan()
        sources = MemorySources(self._reader, self.directory / "needs.db")
        self.fleet = Fleet(plan, plan.policy, make, self.notes, memory=sources)
        self.launcher = launchers[0]
        await self.fleet.open()
        return self

    async def until(self, is_so: Callable[[], object]) -> None:
        """Take turns of the loop until it is so."""
        async with asyncio.timeout(30):
            while not is_so():  # noqa: ASYNC110 - the loop's turn
                await asyncio.sleep(0.001)

    def ask(self, model: ModelId) -> Asker:
        asker = Asker()
        self.fleet.ask(LeaseRequest(model, ClientId("c")), asker)
        return asker

    async def start(self, model: ModelId, holds: int | None = None) -> None:
        """Have a model run and hold so many MiB; its request has ended."""
        asker = self.ask(model)
        await self.begin(model, holds)
        await self.until(lambda: asker.answers)
        self.fleet.release(model)
        await self.until(lambda: self.fleet.memory_state().models[model].measured)

    async def begin(self, model: ModelId, holds: int | None = None) -> None:
        """Let a model that starts become ready."""
        server = ServerId(model)
        await self.until(lambda: self.pid(model) is not None)
        if holds is not None:
            pid = self.pid(model)
            assert pid is not None
            self.machine.holds[pid] = holds
        self.launcher.listener.on_ready(server, ADDRESS)

    def need(self, model: ModelId) -> tuple[NeedSource, Mapping[DeviceId, Bytes]]:
        found = self.fleet.memory_state().models[model].need
        return found.source, found.fixed

    def peaks(self, model: ModelId) -> dict[str, int]:
        """What was learned of a model."""
        learned = self.fleet.memory_state().models[model].learned
        return {} if learned is None else learned.peaks

    def pid(self, model: ModelId) -> int | None:
        server = self.fleet.server(model)
        return None if server is None else server.pid

    def exit(self, model: ModelId, ending: Exit | None = None) -> None:
        process = self.launcher.processes.pop(ServerId(model))
        process.kill()
        process.communicate()
        self.machine.holds.pop(process.pid, None)
        self.launcher.listener.on_exited(ServerId(model), ending or Exit(code=0, reason="ended"))

    def held(self, model: ModelId) -> int:
        """What the decisions count it for, in MiB."""
        return self.fleet.memory_state().facts.held[model][RAM] // MIB

    async def close(self) -> None:
        self.machine.go.set()
        self.launcher.end_all()
        await self.fleet.close()


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    found = Stage(tmp_path)
    yield found
    await found.close()


async def test_without_the_policy_nothing_is_read(stage: Stage) -> None:
    """No reader is made until somebody asks; then the devices are told, and no decision changes."""
    await stage.open(stage.plan("", a=None, b=None))
    asker = stage.ask(A)
    await stage.begin(A)
    await stage.until(lambda: asker.answers)
    assert stage.made == 0
    assert not stage.fleet.memory_state().devices
    stage.machine.others = 300
    stage.machine.holds[stage.pid(A) or 0] = 200
    state = await stage.fleet.read_memory([A])
    assert not state.is_in_use
    assert state.facts.pools == ()
    assert [(pool.foreign, pool.holders) for pool in state.pools] == [
        (300 * MIB, (("game", 300 * MIB),))
    ]
    assert state.models[A].measured == {RAM: 200 * MIB}
    readings = stage.machine.readings
    stage.exit(A)
    await asyncio.sleep(0)
    assert stage.machine.readings == readings


async def test_a_request_waits_for_the_first_reading(stage: Stage) -> None:
    """It is not decided before anything is known of the devices."""
    stage.machine.go.clear()
    stage.machine.others = 700
    await stage.open()
    asker = stage.ask(A)
    assert stage.launcher.orders == []
    stage.machine.go.set()
    await stage.until(lambda: stage.fleet.waiting(A))
    assert stage.launcher.orders == []
    stage.machine.others = 0
    await stage.until(lambda: stage.launcher.orders)
    assert asker.answers == []


async def test_a_driver_that_hangs(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a moment the request goes on with what is known: nothing."""
    monkeypatch.setattr(early, "MOMENT", Seconds(0.02))
    stage.machine.go.clear()
    await stage.open()
    stage.ask(A)
    await stage.until(lambda: stage.launcher.orders == ["start a"])


async def test_a_cancelled_request_starts_nothing(stage: Stage) -> None:
    """Also one that waits for a reading; a preload that waits with it goes on."""
    stage.machine.go.clear()
    await stage.open()
    ticket = stage.fleet.ask(LeaseRequest(A, ClientId("c")), Asker())
    stage.fleet.cancel(ticket)
    stage.fleet.preload([B])
    stage.machine.go.set()
    await stage.until(lambda: stage.launcher.orders)
    assert stage.launcher.orders == ["start b"]


async def test_a_model_is_counted_from_its_start_to_its_exit(stage: Stage) -> None:
    """For what it was promised, then for what it holds where that is more, until it has exited."""
    await stage.open()
    stage.ask(A)
    await stage.until(lambda: stage.launcher.orders)
    assert stage.held(A) == 400
    await stage.begin(A, 500)
    await stage.until(lambda: stage.held(A) == 500)
    stage.fleet.release(A)
    stage.fleet.begin_unload([A], force=False)
    assert stage.launcher.orders == ["start a", "terminate a"]
    stage.machine.holds.clear()  # drivers give it back before the exit is seen
    await stage.fleet.read_memory()
    assert stage.held(A) == 500
    stage.exit(A)
    await stage.until(lambda: A not in stage.fleet.memory_state().facts.held)
    learned = stage.fleet.memory_state().models[A].learned
    assert learned is not None
    assert len(learned.loads) == len(learned.stops) == 1


async def test_what_is_ours_is_not_foreign(stage: Stage) -> None:
    stage.machine.others = 100
    await stage.open()
    await stage.start(A, 410)
    (pool,) = (await stage.fleet.read_memory()).pools
    assert pool.foreign == 100 * MIB


async def test_an_unknown_need_is_known_after_the_first_request(stage: Stage) -> None:
    """It is kept in the store, and counts for the next start."""
    await stage.open()
    assert stage.fleet.memory_state().models[C].need.source is NeedSource.UNKNOWN
    await stage.start(C, 300)
    await stage.until(lambda: stage.peaks(C))
    assert stage.need(C) == (NeedSource.LEARNED, {RAM: 300 * MIB})
    await stage.fleet.close()
    with closing(sqlite3.connect(stage.directory / "needs.db")) as file:
        (row,) = file.execute("SELECT need FROM needs").fetchall()
    assert f'"ram":{300 * MIB}' in row[0]


async def test_a_need_that_was_measured_once_stays_known(stage: Stage) -> None:
    """A server that exits before a request of it has ended was measured when it was ready."""
    await stage.open()
    stage.fleet.preload([C])
    await stage.begin(C, 300)
    known = (NeedSource.LEARNED, {RAM: 300 * MIB})
    await stage.until(lambda: stage.need(C) == known)
    stage.exit(C)
    assert stage.need(C) == known
    assert stage.peaks(C) == {}


async def test_a_load_goes_on_when_other_programs_end(stage: Stage) -> None:
    """No event of ours announces that: the watch looks again and again while a request waits."""
    stage.machine.others = 700
    await stage.open()
    asker = stage.ask(A)
    await stage.until(lambda: any(one.holders for one in stage.fleet.memory_state().facts.pools))
    assert (asker.answers, stage.launcher.orders) == ([], [])
    stage.machine.others = 100
    await stage.until(lambda: stage.launcher.orders == ["start a"])


async def test_noise_is_no_news(stage: Stage) -> None:
    """Other programs come and go: the decisions hear of it when it is much, or adds up."""
    await stage.open()
    await stage.start(A, 400)
    await stage.fleet.read_memory()
    epoch = stage.fleet.memory_state().facts.epoch
    for others in (30, 10, 60):
        stage.machine.others = others
        await stage.fleet.read_memory()
        assert stage.fleet.memory_state().facts.epoch == epoch
    stage.machine.others = 70
    await stage.fleet.read_memory()
    assert stage.fleet.memory_state().facts.epoch == epoch + 1


async def test_devices_that_cannot_be_read(stage: Stage) -> None:
    """It is said once; what was known before still counts."""
    await stage.open()
    await stage.start(A, 400)
    stage.machine.error = OSError("gpu0 does not answer")
    await stage.fleet.read_memory()
    state = await stage.fleet.read_memory()
    assert state.problem == "gpu0 does not answer"
    assert len(state.facts.pools) == 1
    told = [note for note in stage.notes.notes if "cannot be read" in note]
    assert told == ["warn: the memory of the devices cannot be read: gpu0 does not answer"]
    stage.machine.error = None
    assert (await stage.fleet.read_memory()).problem == ""


async def test_growth_is_noticed_while_a_model_works(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read again after a while in which requests ran, and its need is raised."""
    for module in (measuring, watch):
        monkeypatch.setattr(module, "WHILE_USED", Seconds(0.01))
    await stage.open()
    await stage.start(C, 300)
    await stage.until(lambda: stage.peaks(C))
    stage.machine.holds[stage.pid(C) or 0] = 500
    assert stage.ask(C).answers == ["granted c"]
    stage.fleet.release(C)
    await stage.until(lambda: stage.fleet.memory_state().models[C].need.fixed == {RAM: 500 * MIB})


async def test_a_reload_that_changes_capacity_and_needs(stage: Stage) -> None:
    """Both count at once, without a reading; a policy that needs no facts gets none."""
    await stage.open()
    await stage.start(A, 400)
    plan = stage.plan("devices: {ram: {capacity: 500MiB, reserve: 0}}\n", b=200)
    stage.fleet.replace(plan, plan.policy, changed=set(), removed=set())
    state = stage.fleet.memory_state()
    assert [pool.total for pool in state.facts.pools] == [500 * MIB]
    assert state.models[B].need.fixed == {RAM: 200 * MIB}
    plan = stage.plan("", a=None, b=None)
    stage.fleet.replace(plan, plan.policy, changed=set(), removed=set())
    assert stage.fleet.memory_state().facts.pools == ()
    plan = stage.plan()
    stage.fleet.replace(plan, plan.policy, changed=set(), removed=set())
    assert len(stage.fleet.memory_state().facts.pools) == 1


async def test_a_reload_that_begins_to_place_by_memory(stage: Stage) -> None:
    """The watch begins, with what runs already."""
    await stage.open(stage.plan("", a=None, b=None))
    asker = stage.ask(A)
    await stage.begin(A, 400)
    await stage.until(lambda: asker.answers)
    plan = stage.plan()
    stage.fleet.replace(plan, plan.policy, changed=set(), removed=set())
    await stage.until(lambda: stage.fleet.memory_state().facts.pools)
    assert stage.held(A) == 400
    stage.fleet.release(A)
    await stage.until(lambda: stage.peaks(A))


async def test_a_model_that_a_reload_removed_is_counted_until_it_exits(stage: Stage) -> None:
    await stage.open()
    asker = stage.ask(B)
    await stage.begin(B, 300)
    await stage.until(lambda: asker.answers)
    await stage.until(lambda: stage.fleet.memory_state().models[B].measured)
    file = stage.directory / "config.yaml"
    file.write_text(f"{ROOM}models:\n  a: {{cmd: server a, memory: 400MiB}}\n")
    plan = load(file, None).plan
    assert plan is not None
    stage.fleet.replace(plan, plan.policy, changed=set(), removed={B, C})
    await stage.fleet.read_memory([A, B])
    assert stage.held(B) == 400
    stage.fleet.release(B)
    stage.exit(B)
    assert B not in stage.fleet.memory_state().models


SHORT = failure(Cause.OUT_OF_MEMORY, "cudaMalloc failed: out of memory")


async def test_out_of_memory_raises_the_need(stage: Stage) -> None:
    """Another model leaves, though both would have fitted by what was declared."""
    await stage.open()
    await stage.start(B, 400)
    asker = stage.ask(A)
    await stage.until(lambda: "start a" in stage.launcher.orders)
    stage.exit(A, Exit(code=1, reason="exited", failure=SHORT))
    assert asker.answers == []
    assert stage.launcher.orders[-1] == "terminate b"
    need = stage.fleet.memory_state().models[A].need
    assert need.source is NeedSource.LEARNED
    assert need.fixed[RAM] > 600 * MIB
    stage.exit(B)
    await stage.begin(A, 350)
    await stage.until(lambda: asker.answers == ["granted a"])
    stage.fleet.release(A)
    await stage.until(
        lambda: stage.fleet.memory_state().models[A].need.source is NeedSource.DECLARED
    )


async def test_out_of_memory_alone(stage: Stage) -> None:
    """The request hears what the model needs and what there is."""
    await stage.open()
    asker = stage.ask(A)
    await stage.until(lambda: stage.launcher.orders)
    stage.exit(A, Exit(code=1, reason="exited", failure=SHORT))
    assert detail(asker) == (
        f"{SHORT.text}; it needs 1000 MiB of ram, where 1000 MiB of 1000 MiB were left"
    )


async def test_out_of_memory_of_an_unknown_need(stage: Stage) -> None:
    """It ran alone, and nothing more can be said."""
    await stage.open()
    asker = stage.ask(C)
    await stage.until(lambda: stage.launcher.orders)
    stage.exit(C, Exit(code=1, reason="exited", failure=SHORT))
    assert detail(asker) == SHORT.text


async def test_other_failures_say_what_they_said(stage: Stage) -> None:
    await stage.open()
    asker = stage.ask(A)
    await stage.until(lambda: stage.launcher.orders)
    bad = failure(Cause.BAD_MODEL, "bad")
    stage.exit(A, Exit(code=1, reason="exited", failure=bad))
    assert detail(asker) == "bad"


async def test_the_end_does_not_wait_for_a_driver(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was learned may be lost then, and that is said."""
    monkeypatch.setattr(watch, "CLOSING", Seconds(0.02))
    stage.machine.go.clear()
    await stage.open()
    await stage.fleet.close()
    assert any("could not be written in time" in note for note in stage.notes.notes)


async def test_an_estate_holds_requests_that_wait_for_a_reading(stage: Stage) -> None:
    """Another front that takes over gets them, too."""
    stage.machine.go.clear()
    await stage.open()
    stage.ask(A)
    _, waiting = stage.fleet.estate()
    assert [request.model for request, _ in waiting] == [A]


async def test_a_driver_that_hangs_from_the_start(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is known of the devices, so one model runs at a time; that the driver hangs is said."""
    monkeypatch.setattr(early, "MOMENT", Seconds(0.01))
    monkeypatch.setattr(readings, "PATIENCE", Seconds(0.03))
    stage.machine.go.clear()
    await stage.open()
    stage.ask(A)
    stage.ask(B)
    await stage.until(lambda: stage.fleet.waiting(B))
    assert stage.launcher.orders == ["start a"]
    told = "warn: the memory of the devices cannot be read: no answer for 0.03 s"
    await stage.until(lambda: told in stage.notes.notes)
    assert stage.fleet.memory_state().problem == "no answer for 0.03 s"
    stage.machine.go.set()
    await stage.until(lambda: stage.launcher.orders == ["start a", "start b"])
    assert stage.fleet.memory_state().problem == ""


async def test_a_reload_to_memory_does_not_start_all_that_waits(stage: Stage) -> None:
    """Queued requests are decided anew before the devices were read for the first time."""
    await stage.open(stage.plan("", a=None, b=None))
    asker = stage.ask(A)
    await stage.begin(A, 400)
    await stage.until(lambda: asker.answers)
    waiting = [stage.ask(B), stage.ask(C)]
    stage.machine.go.clear()
    plan = stage.plan()
    stage.fleet.replace(plan, plan.policy, changed=set(), removed=set())
    assert stage.launcher.orders == ["start a"]
    stage.machine.go.set()
    await stage.until(lambda: "start b" in stage.launcher.orders)
    assert "start c" not in stage.launcher.orders
    assert [one.answers for one in waiting] == [[], []]


async def test_a_reload_away_from_memory_does_not_start_all_that_waits(stage: Stage) -> None:
    """The decisions get the other policy before they lose what they know of memory."""
    stage.machine.others = 550
    await stage.open()
    asker = stage.ask(A)
    await stage.begin(A, 400)
    await stage.until(lambda: asker.answers)
    stage.ask(B)
    await stage.until(lambda: stage.fleet.waiting(B))
    plan = stage.plan("", a=None, b=None)
    stage.fleet.replace(plan, plan.policy, changed=set(), removed=set())
    assert "start b" not in stage.launcher.orders


async def test_a_declared_device_that_is_not_there(stage: Stage) -> None:
    """It is told once; the model is not bound by it."""
    file = stage.directory / "config.yaml"
    file.write_text(f"{ROOM}models:\n  a: {{cmd: server a, memory: {{gpu7: 8GiB, ram: 1MiB}}}}\n")
    plan = load(file, None).plan
    assert plan is not None
    await stage.open(plan)
    await stage.start(A, 1)
    await stage.fleet.read_memory()
    told = [note for note in stage.notes.notes if "gpu7" in note]
    assert told == ["warn: a declares memory of gpu7, of which nothing is known: it does not count"]
