"""Which port a server is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from modelswap.core.spec import ServerId
from modelswap.launch.local import ports as local_ports
from modelswap.launch.local.ports import NoFreePortError, PortAssignment
from modelswap.launch.protocol import Exit, LaunchSpec

if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

    from modelswap.launch.local.launcher import LocalLauncher

A, B = ServerId("a"), ServerId("b")


def spec_of(server: ServerId, port: int, reserved: Collection[int] = ()) -> LaunchSpec:
    return LaunchSpec(
        server=server,
        argv=("server", str(port)),
        url=f"http://localhost:{port}",
        port=port,
        reserved_ports=frozenset(reserved),
        render=lambda other: spec_of(server, other, reserved),
    )


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Ports that foreign processes hold."""
    ports: set[int] = set()

    def free_port(preferred: int, avoid: Collection[int]) -> int:
        found = next((p for p in range(preferred, 5810) if p not in ports and p not in avoid), None)
        if found is None:
            raise NoFreePortError(f"no free port from {preferred} upwards")
        return found

    monkeypatch.setattr(local_ports, "free_port", free_port)
    return ports


@pytest.mark.usefixtures("held")
def test_usual_port() -> None:
    """Where nothing is in the way, a server has the port of its specification."""
    spec = spec_of(A, 5800)
    assert PortAssignment().assign(spec, ()) is spec


def test_another_port_is_kept(held: set[int]) -> None:
    """A server that had to move keeps its new port, also when the usual one is free again."""
    ports = PortAssignment()
    held.add(5800)
    moved = ports.assign(spec_of(A, 5800), ())
    assert (moved.port, moved.argv, moved.url) == (
        5801,
        ("server", "5801"),
        "http://localhost:5801",
    )
    held.clear()
    assert ports.assign(spec_of(A, 5800), ()).port == 5801
    assert ports.assign(spec_of(A, 5803), ()).port == 5803, "the configuration names another port"


def test_ports_of_others(held: set[int]) -> None:
    """Reserved ports, and those of servers that run, are not given out."""
    held.add(5800)
    assert PortAssignment().assign(spec_of(A, 5800, reserved={5801}), {5802}).port == 5803


@pytest.mark.usefixtures("held")
def test_after_a_clash() -> None:
    """A port whose holder could not be seen before the start is left alone at the next one."""
    ports = PortAssignment()
    ports.avoid(A, 5800, 5800)
    assert ports.assign(spec_of(A, 5800), ()).port == 5801
    assert ports.assign(spec_of(B, 5805), ()).port == 5805


@pytest.mark.usefixtures("held")
def test_adopted_port() -> None:
    """An adopted server's next start has the port that it was found at."""
    ports = PortAssignment()
    ports.keep(spec_of(A, 5800), 5804)
    assert ports.assign(spec_of(A, 5800), ()).port == 5804


def test_port_in_the_command(held: set[int]) -> None:
    """A port that the command names cannot be changed."""
    held.add(5800)
    fixed = LaunchSpec(server=A, argv=("server",), url="http://localhost:5800")
    assert PortAssignment().assign(fixed, ()) is fixed


async def test_no_free_port(
    launcher: LocalLauncher, news: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start for which there is no port ends with the reason, and may work later."""

    def none_free(preferred: int, avoid: object) -> int:
        del avoid
        raise NoFreePortError(f"no free port from {preferred} upwards")

    monkeypatch.setattr(local_ports, "free_port", none_free)
    launcher.start(spec_of(A, 5800))
    ending: Exit = await news.until("exited")
    assert ending.failure is not None
    assert ending.failure.text == "no free port from 5800 upwards"
    assert not ending.failure.is_lasting
