"""Servers through a launcher, without a fleet: starts, news, adoption, reload."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from modelswap.config.plan import Model, Plan
from modelswap.core.models.lifecycle import Event, Phase
from modelswap.core.placement.policy import ANYWHERE, DeviceId, NodeId, Placement
from modelswap.core.spec import ModelId, ModelSpec, ServerId
from modelswap.fleet.adoption import NOTHING_INHERITED, Inherited
from modelswap.fleet.observers import SafeObserver
from modelswap.fleet.running_servers import RunningServers
from modelswap.launch.protocol import NO_CAPABILITIES, Exit, Handle, RunningServer

if TYPE_CHECKING:
    from modelswap.core.commands import SwapDecided
    from modelswap.core.failure import Failure
    from modelswap.fleet.adoption import Adoption
    from modelswap.launch.protocol import Capability, LaunchSpec, Listener

A = ModelId("a")
SERVER = ServerId("a")
ADDRESS = "http://10.0.0.7:5800"
HANDLE = Handle(text="pid 7", pid=7)


class ScriptedLauncher:
    """Records orders; finds and adopts what the test says."""

    capabilities: frozenset[Capability] = NO_CAPABILITIES

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.orders: list[str] = []
        self.specs: list[LaunchSpec] = []
        self.found: list[RunningServer] = []
        self.is_same = True

    async def open(self) -> None: ...
    async def close(self, *, stop_servers: bool) -> None: ...

    def found_servers(self) -> list[RunningServer]:
        return self.found

    def adopt(self, spec: LaunchSpec, *, as_it_is: bool = False) -> str | None:
        del spec
        return ADDRESS if self.is_same or as_it_is else None

    async def discard(self, *servers: ServerId) -> None:
        self.orders.append(f"discard {' '.join(servers)}")

    def start(self, spec: LaunchSpec) -> None:
        self.specs.append(spec)

    def terminate(self, server: ServerId) -> None:
        self.orders.append(f"terminate {server}")

    def kill(self, server: ServerId) -> None:
        self.orders.append(f"kill {server}")

    def last_observation(self, server: ServerId) -> None: ...


class SilentObserver:
    def on_phase(self, model: ModelId, phase: Phase, why: str) -> None: ...
    def on_swap(self, decided: SwapDecided) -> None: ...
    def on_output(self, model: ModelId, data: bytes) -> None: ...
    def on_note(self, level: str, text: str) -> None: ...


class Rig:
    """Running servers of one model, with what they report."""

    def __init__(self, **changes: object) -> None:
        facts = {"cmd": "server", "argv": ("server",), "proxy": "http://127.0.0.1:1", **changes}
        self.model = Model(id=A, spec=ModelSpec(id=A), **facts)  # type: ignore[arg-type]
        self.reports: list[tuple[Event, str]] = []
        self.phase = Phase.STARTING
        launchers: list[ScriptedLauncher] = []

        def make(listener: Listener) -> ScriptedLauncher:
            launchers.append(ScriptedLauncher(listener))
            return launchers[0]

        self.servers = RunningServers(
            Plan(models={A: self.model}),
            make,
            SafeObserver(SilentObserver()),
            self.on_report,
            lambda _: self.phase,
        )
        self.launcher = launchers[0]

    def on_report(self, model: ModelId, event: Event, why: str | Failure) -> None:
        assert model == A
        self.reports.append((event, why if isinstance(why, str) else why.text))

    async def adopt(self, inherited: Inherited = NOTHING_INHERITED) -> list[Adoption]:
        self.launcher.found = [RunningServer(server=SERVER, handle=HANDLE)]
        adopted: list[Adoption] = []
        await self.servers.open(inherited, adopted.append)
        return adopted


@pytest.fixture
async def rig() -> Rig:
    return Rig()


async def test_one_run(rig: Rig) -> None:
    """A start, its news and its exit become one event each."""
    rig.servers.start(A, ANYWHERE)
    server = rig.servers.by_model[A]
    rig.servers.on_started(SERVER, HANDLE)
    rig.servers.on_ready(SERVER, ADDRESS)
    assert (server.pid, server.model.proxy, server.upstream.address.host) == (
        7,
        ADDRESS,
        "10.0.0.7",
    )
    rig.servers.terminate(A)
    rig.servers.on_exited(SERVER, Exit(code=0, reason="exited with code 0"))
    assert rig.launcher.orders == ["terminate a"]
    assert rig.reports == [(Event.PROBE_PASSED, ""), (Event.EXITED, "exited with code 0")]
    assert rig.servers.by_model == {}


async def test_placement_reaches_the_launcher(rig: Rig) -> None:
    """The policy's placement is a part of the specification, at a retry too."""
    placement = Placement(NodeId("n"), (DeviceId("gpu0"),))
    rig.servers.start(A, placement)
    rig.servers.on_exited(SERVER, Exit(reason="no slot", retryable=True))
    assert [spec.placement for spec in rig.launcher.specs] == [placement, placement]
    assert rig.reports == []


async def test_late_news_of_a_server_that_exited(rig: Rig) -> None:
    """It changes nothing."""
    rig.servers.on_started(SERVER, HANDLE)
    rig.servers.on_ready(SERVER, ADDRESS)
    assert rig.reports == []


async def test_empty_command() -> None:
    """A model without a command fails before the launcher hears of it."""
    rig = Rig(argv=())
    rig.servers.start(A, ANYWHERE)
    assert rig.reports == [(Event.SPAWN_FAILED, "the command is empty: set `cmd`")]
    assert rig.launcher.specs == []


async def test_adoption(rig: Rig) -> None:
    """A server that the configuration would start is taken over, and usable at once."""
    (adoption,) = await rig.adopt(Inherited(leases={A: 2}, ready=frozenset({A})))
    assert (adoption.in_flight, adoption.is_ready, adoption.is_leaving) == (2, True, False)
    server = rig.servers.by_model[A]
    upstream = server.upstream
    rig.servers.on_ready(SERVER, ADDRESS)
    assert rig.servers.by_model[A].upstream is upstream, "running requests keep their connections"


async def test_adoption_only_to_finish(rig: Rig) -> None:
    """Another server is taken over when requests of another front run on it, else discarded."""
    rig.launcher.is_same = False
    assert await rig.adopt() == []
    assert rig.launcher.orders == ["discard a"]
    (adoption,) = await rig.adopt(Inherited(leases={A: 1}))
    assert (adoption.is_ready, adoption.is_leaving) == (True, True)


async def test_reload_of_an_unchanged_model(rig: Rig) -> None:
    """Its server goes on with the new name, at its address."""
    rig.servers.start(A, ANYWHERE)
    rig.servers.on_ready(SERVER, ADDRESS)
    new = Model(
        id=A,
        spec=ModelSpec(id=A),
        cmd="server",
        argv=("server",),
        proxy="http://127.0.0.1:1",
        name="New",
    )
    rig.servers.replace(Plan(models={A: new}), frozenset())
    assert rig.servers.by_model[A].model.name == "New"
    assert rig.servers.by_model[A].model.proxy == ADDRESS
