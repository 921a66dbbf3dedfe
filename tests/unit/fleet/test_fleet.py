"""The fleet on a launcher that does what the test says: freezes, bugs, failing starts."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from modelswap.config.load import load
from modelswap.core.commands import LeaseRequest
from modelswap.core.models.lifecycle import Phase
from modelswap.core.placement.policy import ANYWHERE
from modelswap.core.spec import ClientId, ModelId, ServerId
from modelswap.fleet import Fleet
from modelswap.launch.protocol import NO_CAPABILITIES, Exit, Handle

if TYPE_CHECKING:
    from pathlib import Path

    from modelswap.config.plan import Plan
    from modelswap.core.commands import Fail, SwapDecided
    from modelswap.fleet import ModelServer
    from modelswap.launch.protocol import Capability, LaunchSpec, Listener, RunningServer

A, B = ModelId("a"), ModelId("b")
SA, SB = ServerId("a"), ServerId("b")
CLIENT = ClientId("c")
ADDRESS = "http://127.0.0.1:9"


class HandLauncher:
    """Starts nothing; servers are ready at once and exit when the test says so."""

    capabilities: frozenset[Capability] = NO_CAPABILITIES

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.orders: list[str] = []
        self.specs: list[LaunchSpec] = []

    async def open(self) -> None: ...
    async def close(self, *, stop_servers: bool) -> None: ...
    async def discard(self, *servers: ServerId) -> None: ...

    def found_servers(self) -> list[RunningServer]:
        return []

    def adopt(self, spec: LaunchSpec, *, as_it_is: bool = False) -> str | None:
        del spec, as_it_is
        return None

    def start(self, spec: LaunchSpec) -> None:
        self.orders.append(f"start {spec.server}")
        self.specs.append(spec)
        asyncio.get_running_loop().call_soon(self.listener.on_ready, spec.server, ADDRESS)

    def terminate(self, server: ServerId) -> None:
        self.orders.append(f"terminate {server}")

    def kill(self, server: ServerId) -> None:
        self.orders.append(f"kill {server}")

    def last_observation(self, server: ServerId) -> None: ...

    def exit(self, server: ServerId) -> None:
        self.listener.on_exited(server, Exit(code=0, reason="exited with code 0"))


class Notes:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def on_phase(self, model: ModelId, phase: Phase, why: str) -> None: ...
    def on_swap(self, decided: SwapDecided) -> None: ...
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


class FleetUnderTest:
    def __init__(self, tmp_path: Path, notes: Notes | None = None, more: str = "") -> None:
        plan = plan_of(tmp_path, more)
        self.notes = notes or Notes()
        launchers: list[HandLauncher] = []

        def make(listener: Listener) -> HandLauncher:
            launchers.append(HandLauncher(listener))
            return launchers[-1]

        self.fleet = Fleet(plan, plan.policy, make, self.notes)
        self.launcher = launchers[0]

    async def ready(self, model: ModelId) -> None:
        self.fleet.preload([model])
        async with asyncio.timeout(30):
            while self.fleet.phase(model) is not Phase.READY:  # noqa: ASYNC110 - the loop's turn
                await asyncio.sleep(0)


@pytest.fixture
async def one(tmp_path: Path) -> FleetUnderTest:
    return FleetUnderTest(tmp_path)


async def test_grace_that_ran_out_while_suspended(one: FleetUnderTest) -> None:
    """The exit that happened meanwhile is read before the kill that would have been due."""
    await one.ready(A)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(one.fleet.unload([A]))
        await asyncio.sleep(0)
        time.sleep(2.5)  # noqa: ASYNC251 - that is the point
        asyncio.get_running_loop().call_later(0.05, one.launcher.exit, SA)
    assert one.launcher.orders == ["start a", "terminate a"]
    assert one.fleet.killed == 0


async def test_grace_that_ran_out(one: FleetUnderTest) -> None:
    """A server that ignores the request to exit is killed when its time is over."""
    await one.ready(A)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(one.fleet.unload([A]))
        async with asyncio.timeout(30):
            while "kill a" not in one.launcher.orders:  # noqa: ASYNC110 - the loop's turn
                await asyncio.sleep(0.01)
        one.launcher.exit(SA)
    assert one.fleet.killed == 1


async def test_unload_starts_none_of_its_models(tmp_path: Path) -> None:
    """A model that is unloaded too is not started because another one leaves."""
    one = FleetUnderTest(tmp_path, more="groups: {g: {swap: false, members: [a, b]}}")
    one.fleet.preload([A, B])
    one.fleet.begin_unload([A, B], force=False)
    assert one.launcher.orders == ["start a", "terminate a"]


async def test_unload_ends_although_the_model_is_wanted_again(one: FleetUnderTest) -> None:
    """A queued request has it started the moment it is down: the unload is over by then."""
    await one.ready(A)
    unloading = asyncio.Event()

    async def unload() -> None:
        await one.fleet.unload([A])
        unloading.set()

    asker = Asker()
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        tasks.create_task(unload())
        await asyncio.sleep(0)
        one.fleet.ask(LeaseRequest(A, CLIENT), asker)
        one.launcher.exit(SA)
        await unloading.wait()
        while not asker.answers:  # noqa: ASYNC110 - the loop's turn
            await asyncio.sleep(0)
    assert asker.answers == ["granted a"]


async def test_bug_in_one_waiter(one: FleetUnderTest) -> None:
    """A waiter that raises is said, and those behind it get their answers."""
    broken, fine = Asker(breaks=True), Asker()
    one.fleet.ask(LeaseRequest(A, CLIENT), broken)
    one.fleet.ask(LeaseRequest(A, CLIENT), fine)
    await one.ready(A)
    assert fine.answers == ["granted a"]
    assert any("ZeroDivisionError" in note for note in one.notes.notes)


async def test_start_that_must_not_be_tried_again(one: FleetUnderTest) -> None:
    """An exit that the launcher does not call retryable fails the request at once."""
    asker = Asker()
    one.fleet.ask(LeaseRequest(A, CLIENT), asker)
    one.launcher.listener.on_exited(SA, Exit(code=1, reason="taken"))
    assert asker.answers == ["load failed"]
    assert one.launcher.orders == ["start a"]


async def test_retry_has_the_same_specification(one: FleetUnderTest) -> None:
    """A retryable exit leads to the same start again, with its placement."""
    one.fleet.ask(LeaseRequest(A, CLIENT), Asker())
    one.launcher.listener.on_exited(SA, Exit(code=1, reason="taken", retryable=True))
    first, second = one.launcher.specs
    assert first is second
    assert first.placement == ANYWHERE


async def test_no_retry_once_the_start_was_given_up(one: FleetUnderTest) -> None:
    """A retryable exit of a server that is to stop is an exit."""
    one.fleet.preload([A])
    one.fleet.begin_unload([A], force=False)
    one.launcher.listener.on_exited(SA, Exit(code=1, reason="taken", retryable=True))
    assert one.launcher.orders == ["start a", "terminate a"]
    assert one.fleet.phase(A) is Phase.STOPPED


async def test_specification_of_a_model(one: FleetUnderTest) -> None:
    """It can be made for another port, and names the ports of all other models."""
    await one.ready(A)
    (spec,) = one.launcher.specs
    assert spec.port == 28700
    assert spec.reserved_ports == {28701}
    other = spec.at_port(30_000)
    assert (other.port, other.argv[-1], other.url) == (30_000, "30000", "http://localhost:30000")


async def test_the_command_is_shown_at_its_port(one: FleetUnderTest) -> None:
    """What runs is shown as it runs, also after a reload."""
    await one.ready(A)
    one.launcher.listener.on_started(SA, Handle(text="pid 7", pid=7, port=28_712))
    for _ in range(2):
        ((shown, _, pid),) = one.fleet.running()
        assert (shown.port, shown.proxy, pid) == (28_712, ADDRESS, 7)
        assert shown.cmd.endswith("28712")
        one.fleet.replace(one.fleet.plan, one.fleet.plan.policy, changed=set(), removed=set())


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


async def test_bug_of_an_observer_does_no_harm(tmp_path: Path) -> None:
    """News that an observer breaks over is obeyed all the same, and the launcher goes on."""
    one = FleetUnderTest(tmp_path, BrokenNotes())
    await one.ready(A)
    one.launcher.listener.on_started(SA, Handle(text="pid 1", pid=1))
    one.launcher.listener.on_output(SA, b"text\n")
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        tasks.create_task(one.fleet.unload([A]))
        await asyncio.sleep(0)
        one.launcher.exit(SA)
    assert any("internal error, please report: ZeroDivisionError" in n for n in one.notes.notes)
