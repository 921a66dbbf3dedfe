"""What every test may ask for: the real program, and how hard hypothesis tries."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import pytest
from hypothesis import HealthCheck, settings

from support.server import Modelswap

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

# Shared and slow machines: what takes long is no failure of a property.
PATIENT = (HealthCheck.too_slow, HealthCheck.data_too_large)
settings.register_profile("ci", deadline=None, max_examples=100, suppress_health_check=PATIENT)
settings.register_profile("deep", deadline=None, max_examples=5000, suppress_health_check=PATIENT)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


_running: list[Modelswap] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    call: pytest.CallInfo[None],
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a failure what the servers of that moment have printed."""
    report = yield
    if call.excinfo is not None and report.failed:
        report.sections += [(f"{s.base_url} printed", s.last_words()) for s in _running]
    return report


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
        _running.append(server)
        return server.start() if start else server

    yield begin
    for server in started:
        _running.remove(server)
    left = [server.finish() for server in started]
    assert not any(left), f"processes left behind: {left}"


@pytest.fixture
def modelswap_server(tmp_path: Path) -> Iterator[StartServer]:
    """Servers for one test."""
    with servers(tmp_path) as begin:
        yield begin


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartServer]:
    """Servers for a whole module."""
    with servers(tmp_path_factory.mktemp("servers")) as begin:
        yield begin
