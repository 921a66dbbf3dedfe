"""The state directory and its lock."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modelswap.launch import AlreadyRunningError, LaunchError
from modelswap.launch.state import lock_front, state_directory


def test_wish_is_honoured_and_private(tmp_path: Path) -> None:
    """A directory that is asked for is made, with its parents, for the owner alone."""
    made = state_directory(tmp_path / "a" / "b", "127.0.0.1:8080")
    assert made == tmp_path / "a" / "b"
    assert made.stat().st_mode & 0o777 == 0o700


def test_impossible_wish_is_an_error() -> None:
    """A directory that cannot be made is an error, never silently another one."""
    with pytest.raises(LaunchError, match="/dev/null/x"):
        state_directory(Path("/dev/null/x"), "127.0.0.1:8080")


def test_default_is_below_the_state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each listen address has its own directory, whatever is in the address."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    first = state_directory(None, "127.0.0.1:8080")
    second = state_directory(None, "[::1]:8080/../x")
    assert first != second
    assert {first.parent, second.parent} == {tmp_path / "modelswap"}


def test_without_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a writable home it is a private place below the temporary directory, found again."""
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/dev/null")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    first = state_directory(None, ":8080")
    assert first.is_relative_to(tmp_path)
    assert first.stat().st_mode & 0o777 == 0o700
    assert state_directory(None, ":8080") == first


def test_lock(tmp_path: Path) -> None:
    """One front per directory; the lock is free again when its holder lets go."""
    held = lock_front(tmp_path)
    with pytest.raises(AlreadyRunningError):
        lock_front(tmp_path)
    os.close(held)
    os.close(lock_front(tmp_path))
