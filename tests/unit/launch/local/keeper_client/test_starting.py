"""A keeper that is started ahead of the front's connection."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import psutil

from modelswap.launch.local.keeper_client.link import Keeper
from modelswap.launch.local.keeper_client.starting import start_ahead
from modelswap.launch.local.state import lock_front
from modelswap.units import Seconds

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

ADDRESS = "127.0.0.1:1"


async def test_the_front_connects_to_it(tmp_path: Path) -> None:
    ahead = start_ahead(tmp_path, ADDRESS)
    assert ahead is not None
    keeper = Keeper(tmp_path, Seconds(10), starting=ahead)
    link, state = await keeper.connect()
    assert keeper.child == state.pid
    assert start_ahead(tmp_path, ADDRESS) is None, "there is one"
    ahead.abandon()  # without effect: it was taken
    assert psutil.pid_exists(state.pid)
    link.close()
    await link.ended
    keeper.end()


async def test_another_is_started_where_it_ends_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("sys.executable", "/bin/false")
        ahead = start_ahead(tmp_path, ADDRESS)
    keeper = Keeper(tmp_path, Seconds(10), starting=ahead)
    link, state = await keeper.connect()
    assert psutil.pid_exists(state.pid)
    link.close()
    await link.ended
    keeper.end()


def test_an_abandoned_one_ends(tmp_path: Path) -> None:
    others = set(psutil.Process().children())
    ahead = start_ahead(tmp_path, ADDRESS)
    assert ahead is not None
    started = set(psutil.Process().children()) - others
    assert started
    ahead.abandon()
    ahead.abandon()
    assert [one for one in started if one.is_running()] == []


def test_none_is_started_beside_another_front(tmp_path: Path) -> None:
    lock = lock_front(tmp_path)
    try:
        assert start_ahead(tmp_path, ADDRESS) is None
    finally:
        os.close(lock)


def test_what_is_wrong_is_left_to_the_front(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = tmp_path / "file"
    taken.touch()
    assert start_ahead(taken, ADDRESS) is None
    with monkeypatch.context() as patched:
        patched.setattr("sys.executable", "/nowhere")
        assert start_ahead(tmp_path, ADDRESS) is None

    def no_descriptor() -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("os.pipe", no_descriptor)
    assert start_ahead(tmp_path, ADDRESS) is None
