"""Walks: each folder once, in one order, within bounds."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from modelswap.catalog import files
from modelswap.catalog.files import Walk

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_folders_come_in_order_and_links_last(tmp_path: Path) -> None:
    """A folder has its own path, not that of a link to it."""
    for name in ("b", "a/z", "a/c", "..data", ".cache"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "0").symlink_to("b")
    assert [folder.parts for folder in Walk(str(tmp_path))] == [
        (), ("a",), ("a", "c"), ("a", "z"), ("b",),
    ]  # fmt: skip


def test_a_pruned_folder_is_not_entered(tmp_path: Path) -> None:
    """Its own files were returned, its folders are not."""
    (tmp_path / "a" / "inside").mkdir(parents=True)
    walk = Walk(str(tmp_path))
    seen = []
    for folder in walk:
        seen.append(folder.parts)
        if folder.parts == ("a",):
            walk.prune(folder)
    assert seen == [(), ("a",)]


def test_folders_may_be_called_like_files(tmp_path: Path) -> None:
    """`x.gguf/` is a folder, and a pipe of such a name is never opened."""
    os.mkfifo(tmp_path / "pipe.gguf")
    (tmp_path / "x.gguf").mkdir()
    (tmp_path / "x.gguf" / "model.gguf").touch()
    walk = Walk(str(tmp_path))
    assert [list(folder.files) for folder in walk] == [[], ["model.gguf"]]
    assert [remark.text for remark in walk.remarks] == ["is not a regular file"]


def test_a_walk_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bounds the walk ends, and says so."""
    for number in range(20):
        (tmp_path / str(number)).mkdir()
    deep = tmp_path / "deep"
    for _ in range(6):
        deep /= "er"
    deep.mkdir(parents=True)
    monkeypatch.setattr(files, "MOST_DEPTH", 3)
    walk = Walk(str(tmp_path))
    assert max(len(folder.parts) for folder in walk) == 3
    assert ["folders deep" in remark.text for remark in walk.remarks] == [True]
    monkeypatch.setattr(files, "MOST_ENTRIES", 10)
    walk = Walk(str(tmp_path))
    assert len(list(walk)) <= 11
    assert [remark.text for remark in walk.remarks] == [
        "has more than 10 entries: the rest was left out"
    ]
