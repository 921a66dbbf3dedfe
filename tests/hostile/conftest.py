"""Real servers for a whole module, and a peer that remembers what came through."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fakes.server import Modelswap
from parity.world import Listener

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parity.world import Serve


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Real `modelswap serve` processes for a whole module; none may leave anything running."""
    started: list[Modelswap] = []
    directory = tmp_path_factory.mktemp("hostile")

    def begin(
        config_text: str, *flags: str, start: bool = True, env: dict[str, str] | None = None
    ) -> Modelswap:
        where = directory / f"server{len(started)}"
        server = Modelswap(where, config_text, flags, environment=env or {})
        started.append(server)
        return server.start() if start else server

    yield begin
    left = [server.finish() for server in started]
    assert not any(left), f"processes left behind: {left}"


@pytest.fixture(scope="module")
def peer() -> Iterator[Listener]:
    """Another server, which remembers what it was asked."""
    with Listener() as listener:
        yield listener
