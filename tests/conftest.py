"""What every test may ask for: the real program, and how hard hypothesis tries."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from support.running import RUNNING, servers

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from support.running import StartServer

# Shared and slow machines: what takes long is no failure of a property.
PATIENT = (HealthCheck.too_slow, HealthCheck.data_too_large)
settings.register_profile("ci", deadline=None, max_examples=100, suppress_health_check=PATIENT)
settings.register_profile("deep", deadline=None, max_examples=5000, suppress_health_check=PATIENT)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

# Several engines share the cores here: a thread of llama.cpp that waits for another one sleeps instead of
# spinning (OpenMP; what the tests start inherits it).
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    call: pytest.CallInfo[None],
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a failure what the servers of that moment have printed."""
    report = yield
    if call.excinfo is not None and report.failed:
        report.sections += [(f"{s.base_url} printed", s.last_words()) for s in RUNNING]
    return report


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
