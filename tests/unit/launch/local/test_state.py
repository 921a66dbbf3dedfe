"""The state directory and its lock."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modelswap.launch.local.state import lock_front, state_directory
from modelswap.launch.protocol import AlreadyRunningError, LaunchError


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


@pytest.fixture
def no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a home nor a session: what is left are the folders for everybody."""
    for name in ("XDG_STATE_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/dev/null")
    if Path(f"/run/user/{os.getuid()}").is_dir():
        pytest.skip("this user has a session")


@pytest.mark.usefixtures("no_home")
def test_without_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a writable home it is a private place below the temporary directory, found again."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    first = state_directory(None, ":8080")
    assert first.is_relative_to(tmp_path)
    assert {first.stat().st_mode & 0o777, first.parent.stat().st_mode & 0o777} == {0o700}
    assert state_directory(None, ":8080") == first


def test_the_session_before_the_folders_for_everybody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user's runtime folder is private already."""
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/dev/null")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert state_directory(None, ":8080").parent == tmp_path / "modelswap"


@pytest.mark.usefixtures("no_home")
def test_a_link_of_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link in the place of our folder in `/tmp` is not followed; the next place is taken."""
    shared, elsewhere, other = tmp_path / "tmp", tmp_path / "elsewhere", tmp_path / "other"
    for folder in (shared, elsewhere, other):
        folder.mkdir()
    (shared / f"modelswap-{os.getuid()}").symlink_to(elsewhere)
    monkeypatch.setattr("tempfile.tempdir", str(shared))
    monkeypatch.setattr("modelswap.launch.local.state.LAST_RESORTS", (other,))
    assert state_directory(None, ":8080").is_relative_to(other)
    assert not list(elsewhere.iterdir())


@pytest.mark.usefixtures("no_home")
@pytest.mark.parametrize("temporary", ["/dev/null", None])
def test_nothing_can_be_written(monkeypatch: pytest.MonkeyPatch, temporary: str | None) -> None:
    """One line that names the option, also when Python knows no temporary folder."""

    def none() -> str:
        raise FileNotFoundError(2, "no usable temporary directory found")

    monkeypatch.setattr("tempfile.gettempdir", none if temporary is None else lambda: temporary)
    monkeypatch.setattr("modelswap.launch.local.state.LAST_RESORTS", (Path("/dev/null"),))
    with pytest.raises(LaunchError, match=r"--state-dir DIR; tried .*/dev/null") as raised:
        state_directory(None, ":8080")
    assert "\n" not in str(raised.value)


def test_a_directory_that_cannot_be_locked(tmp_path: Path) -> None:
    """Said as it is, not as another front."""
    (tmp_path / "front.lock").mkdir()
    with pytest.raises(LaunchError, match="--state-dir") as raised:
        lock_front(tmp_path)
    assert not isinstance(raised.value, AlreadyRunningError)


def test_lock(tmp_path: Path) -> None:
    """One front per directory; the lock is free again when its holder lets go."""
    held = lock_front(tmp_path)
    with pytest.raises(AlreadyRunningError):
        lock_front(tmp_path)
    os.close(held)
    os.close(lock_front(tmp_path))


def test_a_folder_that_is_there_for_more_keeps_its_mode(tmp_path: Path) -> None:
    """`--state-dir /` must not shut everybody else out of the machine."""
    (tmp_path / "other").mkdir()
    tmp_path.chmod(0o755)
    for _ in range(2):  # the second time our own files are there, too
        assert state_directory(tmp_path, "h:1") == tmp_path
        os.close(lock_front(tmp_path))
        assert tmp_path.stat().st_mode & 0o777 == 0o755


def test_a_folder_for_everybody_is_no_state_directory(tmp_path: Path) -> None:
    """As `--state-dir /tmp`: others could put their files in the place of ours."""
    (tmp_path / "other").touch()
    tmp_path.chmod(0o1777)
    with pytest.raises(LaunchError, match="everybody writes to"):
        state_directory(tmp_path, "h:1")
    assert tmp_path.stat().st_mode & 0o7777 == 0o1777


def test_a_volume_of_our_own_becomes_private(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    tmp_path.chmod(0o777)
    assert state_directory(tmp_path, "h:1").stat().st_mode & 0o777 == 0o700
