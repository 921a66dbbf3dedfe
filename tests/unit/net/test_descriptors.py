"""The limit on file descriptors."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from modelswap.net.descriptors import connections_that_fit, fill_standard_streams, raise_limit


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Soft and hard limits as they were set, the current ones last."""
    found = [(1024, 4096)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: found[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, new: found.append(new))
    return found


def test_the_soft_limit_is_raised_as_far_as_it_may(limits: list[tuple[int, int]]) -> None:
    """Up to what is wanted, or to the hard limit; it is never lowered."""
    assert raise_limit(2000) == 2000
    assert raise_limit(1000) == 1000
    assert raise_limit(9000) == 4096
    assert limits == [(1024, 4096), (2000, 4096), (4096, 4096)]


def test_refusing_begins_before_descriptors_are_gone(limits: list[tuple[int, int]]) -> None:
    """Connections that fit leave descriptors for their upstreams and for the process itself."""
    assert connections_that_fit(16) == 16
    assert len(limits) == 1
    assert connections_that_fit(1500) == 1500
    assert connections_that_fit(10_000) == 2000


def test_some_connections_are_always_allowed(limits: list[tuple[int, int]]) -> None:
    """Even where the system gives almost nothing."""
    limits[:] = [(64, 64)]
    assert connections_that_fit(100) == 8


def test_a_closed_standard_stream_is_opened() -> None:
    """No socket gets its number."""
    process = os.fork()
    if not process:
        os.close(0)
        fill_standard_streams()
        os._exit(0 if os.fstat(0).st_rdev == Path(os.devnull).stat().st_rdev else 1)
    assert os.waitpid(process, 0)[1] == 0
