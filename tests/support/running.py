"""The real program, started for a test, stopped and checked after it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol

from support.server import Modelswap

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RUNNING: Final[list[Modelswap]] = []
"""What runs at the moment: a test that fails shows what these have printed."""


class StartServer(Protocol):
    """Starts the program with a configuration and waits until it answers."""

    def __call__(
        self, config_text: str, *flags: str, start: bool = True, env: dict[str, str] | None = None
    ) -> Modelswap: ...


@contextmanager
def servers(directory: Path) -> Iterator[StartServer]:
    """Real `modelswap serve` processes; the test fails when one leaves anything running."""
    started: list[Modelswap] = []

    def begin(
        config_text: str, *flags: str, start: bool = True, env: dict[str, str] | None = None
    ) -> Modelswap:
        where = directory / f"server{len(started)}"
        server = Modelswap(where, config_text, flags, environment=env or {})
        started.append(server)
        RUNNING.append(server)
        return server.start() if start else server

    yield begin
    for server in started:
        RUNNING.remove(server)
    left = [server.finish() for server in started]
    assert not any(left), f"processes left behind: {left}"
