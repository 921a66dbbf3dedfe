"""GPU memory of a stopped server is seen to be free before its exit is told."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from modelswap.core.spec import ServerId
from modelswap.launch.memory_release import MemoryBaseline, MemoryReleaseLauncher
from modelswap.launch.protocol import NO_CAPABILITIES, Exit, LaunchSpec
from modelswap.units import Seconds

if TYPE_CHECKING:
    from modelswap.launch.protocol import Capability, Handle, Listener, RunningServer

GIB = 1 << 30
A = ServerId("a")
URL = "http://127.0.0.1:1"
SPEC = LaunchSpec(server=A, argv=("server",), url=URL)
GONE = Exit(code=0, reason="exited with code 0")


class IdleLauncher:
    """Carries nothing out; the test gives the news itself."""

    capabilities: frozenset[Capability] = NO_CAPABILITIES

    async def open(self) -> None: ...
    async def close(self, *, stop_servers: bool) -> None: ...
    async def discard(self, *servers: ServerId) -> None: ...
    def start(self, spec: LaunchSpec) -> None: ...
    def terminate(self, server: ServerId) -> None: ...
    def kill(self, server: ServerId) -> None: ...
    def last_observation(self, server: ServerId) -> None: ...

    def found_servers(self) -> list[RunningServer]:
        return []

    def adopt(self, spec: LaunchSpec, *, as_it_is: bool = False) -> str | None:
        del spec, as_it_is
        return None


class SlowDriver:
    """Two devices whose memory is free only after so many more readings."""

    def __init__(self, readings: int = 0) -> None:
        self.used = [GIB, 2 * GIB]
        self.left = readings
        self.is_freeing = False
        self.looks = 0

    def __call__(self) -> tuple[int, ...]:
        self.looks += 1
        if self.is_freeing:
            if self.left == 0:
                self.used = [GIB, 2 * GIB]
            self.left -= 1
        return tuple(self.used)


class Exits:
    def __init__(self) -> None:
        self.told = asyncio.Event()

    def on_started(self, server: ServerId, handle: Handle) -> None: ...
    def on_ready(self, server: ServerId, address: str) -> None: ...
    def on_output(self, server: ServerId, data: bytes) -> None: ...
    def on_trouble(self, server: ServerId, what: str) -> None: ...

    def on_exited(self, server: ServerId, ending: Exit) -> None:
        del server, ending
        self.told.set()


def idle(_: Listener) -> IdleLauncher:
    return IdleLauncher()


async def readings(driver: SlowDriver, count: int) -> None:
    async with asyncio.timeout(30):
        while driver.looks < count:  # noqa: ASYNC110 - a thread's turn
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)


async def loaded(driver: SlowDriver, exits: Exits, *, takes: int, within: float) -> MemoryReleaseLauncher:  # fmt: skip
    """A launcher with one ready server that took so much of the second device."""
    launcher = MemoryReleaseLauncher(idle, exits, driver, timeout=Seconds(within))
    launcher.start(SPEC)
    await readings(driver, 1)
    driver.used[1] += takes
    launcher.on_ready(A, URL)
    await readings(driver, 2)
    return launcher


async def test_the_exit_is_told_when_the_memory_is_free() -> None:
    """Not before, however long the driver takes within the timeout."""
    driver, exits = SlowDriver(readings=3), Exits()
    launcher = await loaded(driver, exits, takes=8 * GIB, within=60)
    launcher.terminate(A)
    await readings(driver, 3)
    driver.is_freeing = True
    launcher.on_exited(A, GONE)
    assert not exits.told.is_set()
    async with asyncio.timeout(30):
        await exits.told.wait()
    assert driver.used == [GIB, 2 * GIB]


async def test_the_wait_is_bounded() -> None:
    """A driver that never gives it back does not keep the next model from trying."""
    driver, exits = SlowDriver(), Exits()
    launcher = await loaded(driver, exits, takes=8 * GIB, within=0.1)
    launcher.terminate(A)
    await readings(driver, 3)
    launcher.on_exited(A, GONE)
    async with asyncio.timeout(30):
        await exits.told.wait()
    assert driver.used[1] == 10 * GIB


async def test_a_driver_that_hangs_holds_nothing_up() -> None:
    """The exit is told within the timeout, though no reading ever comes back."""
    driver, exits = SlowDriver(), Exits()
    hung, woken = threading.Event(), threading.Event()

    def read() -> tuple[int, ...]:
        if hung.is_set():
            woken.wait()
        return driver()

    launcher = MemoryReleaseLauncher(idle, exits, read, timeout=Seconds(0.1))
    launcher.start(SPEC)
    await readings(driver, 1)
    driver.used[1] += 8 * GIB
    launcher.on_ready(A, URL)
    await readings(driver, 2)
    hung.set()
    launcher.terminate(A)
    launcher.on_exited(A, GONE)
    async with asyncio.timeout(30):
        await exits.told.wait()
    woken.set()


async def test_who_took_nothing_is_not_waited_for() -> None:
    """A server on the CPU is gone when it is gone."""
    driver, exits = SlowDriver(), Exits()
    launcher = await loaded(driver, exits, takes=0, within=60)
    launcher.terminate(A)
    launcher.on_exited(A, GONE)
    assert exits.told.is_set()


async def test_a_death_is_told_at_once() -> None:
    """Requests of a server that died by itself must not go to it any longer."""
    driver, exits = SlowDriver(), Exits()
    launcher = await loaded(driver, exits, takes=8 * GIB, within=60)
    launcher.on_exited(A, GONE)
    assert exits.told.is_set()


async def asked_to_leave(exits: Exits, ending: threading.Event) -> MemoryReleaseLauncher:
    """A launcher whose one server has 8 GiB and was told to end."""
    driver = SlowDriver()
    launcher = MemoryReleaseLauncher(
        idle, exits, driver, timeout=Seconds(60), is_ending=ending.is_set
    )
    launcher.start(SPEC)
    await readings(driver, 1)
    driver.used[1] += 8 * GIB
    launcher.on_ready(A, URL)
    await readings(driver, 2)
    launcher.terminate(A)
    return launcher


async def test_the_end_of_the_program_waits_for_no_memory() -> None:
    """Nothing is started any more, so a stopped server is gone when it is gone."""
    exits, ending = Exits(), threading.Event()
    launcher = await asked_to_leave(exits, ending)
    ending.set()
    launcher.on_exited(A, GONE)
    assert exits.told.is_set()


async def test_a_wait_ends_with_the_program() -> None:
    """Who waits for memory when the program begins to end waits no longer."""
    exits, ending = Exits(), threading.Event()
    launcher = await asked_to_leave(exits, ending)
    launcher.on_exited(A, GONE)
    assert not exits.told.is_set()
    ending.set()
    async with asyncio.timeout(30):
        await exits.told.wait()


async def test_a_reading_that_fails_holds_nothing_up() -> None:
    """A driver that raises is as good as none."""

    def broken() -> tuple[int, ...]:
        raise OSError

    exits = Exits()
    launcher = MemoryReleaseLauncher(idle, exits, broken, timeout=Seconds(60))
    launcher.start(SPEC)
    launcher.on_ready(A, URL)
    launcher.terminate(A)
    await asyncio.sleep(0.05)
    launcher.on_exited(A, GONE)
    assert exits.told.is_set()


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ((10 * GIB,), False),
        ((5 * GIB,), False),
        ((3 * GIB,), True),  # fallen by nearly all of it: others may have grown
        ((2 * GIB,), True),
        ((), True),
    ],
)
def test_settled(now: tuple[int, ...], expected: bool) -> None:  # noqa: FBT001 - a parameter
    """Free again means: as before, or fallen by most of what the server took."""
    baseline = MemoryBaseline(before=(2 * GIB,), ready=(10 * GIB,), stop=(10 * GIB,))
    assert baseline.is_settled(now) is expected
