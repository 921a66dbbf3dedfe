"""Whether anything in a folder may have changed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from modelswap.config.discover.disk.folder_stamp import folder_stamp

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a file, an empty folder below, and a link in a circle."""
    (tmp_path / "below" / "empty").mkdir(parents=True)
    (tmp_path / "below" / "a.gguf").write_text("a")
    (tmp_path / "below" / "circle").symlink_to(tmp_path)
    return tmp_path


def _new_file(folder: Path) -> None:
    (folder / "below" / "empty" / "b.gguf").touch()


def _removed_file(folder: Path) -> None:
    (folder / "below" / "a.gguf").unlink()


def _written_file(folder: Path) -> None:
    (folder / "below" / "a.gguf").write_text("longer")


def _exchanged_folder(folder: Path) -> None:
    (folder / "below" / "empty").rmdir()
    (folder / "other").mkdir()
    (folder / "other").rename(folder / "below" / "empty")


@pytest.mark.parametrize("change", [_new_file, _removed_file, _written_file, _exchanged_folder])
def test_a_change_is_seen(folder: Path, change: Callable[[Path], None]) -> None:
    """What came, went or was written makes another number; without a change it stays."""
    for path in (folder, folder / "below", folder / "below" / "empty", folder / "below" / "a.gguf"):
        os.utime(path, (1, 1))  # a file system's clock may be too coarse for two changes in a row
    files = [folder / "below" / "a.gguf"]
    before = folder_stamp([folder], files)
    assert folder_stamp([folder], files) == before
    change(folder)
    assert folder_stamp([folder], files) != before


def test_hidden_folders_do_not_count(tmp_path: Path) -> None:
    """A scan does not look into them: locks and states of downloads cause none."""
    (tmp_path / ".locks" / "repository").mkdir(parents=True)
    before = folder_stamp([tmp_path], [])
    (tmp_path / ".locks" / "repository" / "lock").touch()
    (tmp_path / ".locks" / "other").mkdir()
    assert folder_stamp([tmp_path], []) == before


def test_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    """A folder and a file may be gone."""
    assert folder_stamp([tmp_path / "gone"], [tmp_path / "gone.gguf"]) == 0
