"""The one owner against a launcher that does what the test says: freezes, bugs, full machines."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from modelswap.config.compile.coresidence import policy_of
from modelswap.config.load import load
from modelswap.core.models.lifecycle import Phase
from modelswap.core.spec import ClientId, ModelId
from modelswap.fleet import Fleet
from modelswap.launch.local.ports import NoFreePortError
from modelswap.launch.protocol import Exit

if TYPE_CHECKING:
    from pathlib import Path

    from modelswap.config.plan import Plan
    from modelswap.core.controller import Fail
    from modelswap.fleet import ModelServer
    from modelswap.launch.protocol import LaunchSpec, Listener, RunningServer

A, B = ModelId("a"), ModelId("b")
SOMEBODY = ClientId("somebody")


class HandLauncher:
    """Starts nothing; servers are ready at once and leave when the test says so."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.orders: list[str] = []

    async def open(self) -> None: ...
    async def close(self, *, stop_servers: bool) -> None: ...
    async def discard(self, *models: str) -> None: ...

    def adopted(self) -> list[RunningServer]:
        return []

    def adopt(self, job: LaunchSpec, *, as_it_is: bool = False) -> bool:
        del job, as_it_is
        return False

    def start(self, job: LaunchSpec) -> None:
        self.orders.append(f"start {job.model}")
        asyncio.get_running_loop().call_soon(self.listener.on_ready, job.model)

    def terminate(self, model: str) -> None:
        self.orders.append(f"terminate {model}")

    def kill(self, model: str) -> None:
        self.orders.append(f"kill {model}")

    def last_look(self, model: str) -> None: ...

    def leave(self, model: str) -> None:
        self.listener.on_exited(model, Exit(code=0, reason="exited with code 0"))


class Notes:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def on_phase(self, model: ModelId, phase: Phase, why: str) -> None: ...
    def on_output(self, model: ModelId, data: bytes) -> None: ...

    def on_note(self, level: str, text: str) -> None:
        self.notes.append(f"{level}: {text}")


class Asker:
    """A waiter that remembers its answer, or breaks over it."""

    def __init__(self, *, breaks: bool = False) -> None:
        self.breaks = breaks
        self.answers: list[str] = []

    def on_granted(self, server: ModelServer) -> None:
        if self.breaks:
            raise ZeroDivisionError
        self.answers.append(f"granted {server.model.id}")

    def on_refused(self, refused: Fail) -> None:
        self.answers.append(str(refused.reason))

    def on_position(self, position: int) -> None: ...


def plan_of(tmp_path: Path, more: str = "") -> Plan:
    rows = "".join(f"  {m}: {{cmd: server --port ${{PORT}}}}\n" for m in "ab")
    file = tmp_path / "config.yaml"
    file.write_text(f"startPort: 28700\nunloadTimeout: 1\n{more}\nmodels:\n{rows}")
    plan = load(file, None).plan
    assert plan is not None
    return plan


class World:
    def __init__(self, tmp_path: Path, notes: Notes | None = None) -> None:
        plan = plan_of(tmp_path)
        self.notes = notes or Notes()
        launchers: list[HandLauncher] = []

        def make(listener: Listener) -> HandLauncher:
            launchers.append(HandLauncher(listener))
            return launchers[-1]

        self.fleet = Fleet(plan, policy_of(plan), make, self.notes)
        self.launcher = launchers[0]

    async def ready(self, model: ModelId) -> None:
        self.fleet.preload([model])
        async with asyncio.timeout(5):
            while self.fleet.phase(model) is not Phase.READY:  # noqa: ASYNC110 - the loop's turn
                await asyncio.sleep(0)


@pytest.fixture
async def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_grace_that_ran_out_while_we_stood_still(world: World) -> None:
    """The exit that happened meanwhile is read before the kill that would have been due."""
    await world.ready(A)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(world.fleet.unload([A]))
        await asyncio.sleep(0)
        time.sleep(2.5)  # noqa: ASYNC251 - that is the point
        asyncio.get_running_loop().call_later(0.05, world.launcher.leave, A)
    assert world.launcher.orders == ["start a", "terminate a"]
    assert world.fleet.killed == 0


async def test_grace_that_ran_out(world: World) -> None:
    """Who is merely deaf is killed when its time is over."""
    await world.ready(A)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(world.fleet.unload([A]))
        async with asyncio.timeout(5):
            while "kill a" not in world.launcher.orders:  # noqa: ASYNC110 - the loop's turn
                await asyncio.sleep(0.01)
        world.launcher.leave(A)
    assert world.fleet.killed == 1


async def test_unload_ends_although_the_model_is_wanted_again(world: World) -> None:
    """Somebody who waits already has it started the moment it is gone: the unload is over by then."""
    await world.ready(A)
    unloading = asyncio.Event()

    async def unload() -> None:
        await world.fleet.unload([A])
        unloading.set()

    asker = Asker()
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        tasks.create_task(unload())
        await asyncio.sleep(0)
        world.fleet.ask(A, asker, client=SOMEBODY)
        world.launcher.leave(A)
        await unloading.wait()
        while not asker.answers:  # noqa: ASYNC110 - the loop's turn
            await asyncio.sleep(0)
    assert asker.answers == ["granted a"]


async def test_bug_in_one_waiter(world: World) -> None:
    """A waiter that raises is said, and those behind it get their answers."""
    broken, fine = Asker(breaks=True), Asker()
    world.fleet.ask(A, broken, client=SOMEBODY)
    world.fleet.ask(A, fine, client=SOMEBODY)
    await world.ready(A)
    assert fine.answers == ["granted a"]
    assert any("ZeroDivisionError" in note for note in world.notes.notes)


async def test_reload_without_a_free_port(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no port is free the reload still happens; the start that needs one fails and says why."""
    await world.ready(B)

    def none_free(preferred: int, avoid: object = ()) -> int:
        del avoid
        raise NoFreePortError(f"no free port from {preferred} upwards")

    monkeypatch.setattr("modelswap.fleet.ports.free_port", none_free)
    plan = plan_of(tmp_path, "macros: {x: y}")
    world.fleet.replace(plan, policy_of(plan), changed={A}, removed=set())
    asker = Asker()
    world.fleet.ask(A, asker, client=SOMEBODY)
    world.launcher.leave(B)
    assert asker.answers == ["load failed"]
    failed = world.fleet.failure(A)
    assert failed is not None
    assert failed.why.text == "no free port from 28700 upwards"


async def test_port_in_the_command_is_not_tried_again(tmp_path: Path) -> None:
    """A clash on a port that the user chose is told at once: no other port would help."""
    world = World(tmp_path)
    file = tmp_path / "config.yaml"
    file.write_text("models: {a: {cmd: server --port 9, proxy: 'http://127.0.0.1:9'}}\n")
    plan = load(file, None).plan
    assert plan is not None
    world.fleet.replace(plan, policy_of(plan), changed={A}, removed={B})
    asker = Asker()
    world.fleet.ask(A, asker, client=SOMEBODY)
    world.launcher.listener.on_exited("a", Exit(code=1, reason="taken", port_clash=True))
    assert asker.answers == ["load failed"]
    assert world.launcher.orders == ["start a"]


class BrokenNotes(Notes):
    """An observer with a bug in everything it is told."""

    def on_phase(self, model: ModelId, phase: Phase, why: str) -> None:
        del model, phase, why
        raise ZeroDivisionError

    def on_output(self, model: ModelId, data: bytes) -> None:
        del model, data
        raise ZeroDivisionError

    def on_note(self, level: str, text: str) -> None:
        super().on_note(level, text)
        raise ZeroDivisionError


async def test_bug_of_an_observer_harms_nobody(tmp_path: Path) -> None:
    """News that an observer breaks over is obeyed all the same, and whoever brought it goes on."""
    world = World(tmp_path, BrokenNotes())
    await world.ready(A)
    world.launcher.listener.on_spawned("a", 1)
    world.launcher.listener.on_output("a", b"text\n")
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        tasks.create_task(world.fleet.unload([A]))
        await asyncio.sleep(0)
        world.launcher.leave(A)
    assert any("internal error, please report: ZeroDivisionError" in n for n in world.notes.notes)
