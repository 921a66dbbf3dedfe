"""What counts as a change of the configuration on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelswap.config.load import load
from modelswap.config.source.watching import Watch

if TYPE_CHECKING:
    from pathlib import Path


def test_a_change_is_told_once_it_stands_still(tmp_path: Path) -> None:
    """One poll sees it, the next reports it, and the one after that reports nothing."""
    file = tmp_path / "config.yaml"
    file.write_text("models: {}")
    watch = Watch([file], None)
    assert not watch.has_changed()
    file.write_text("models: {} # more")
    assert [watch.has_changed() for _ in range(3)] == [False, True, False]


def test_a_key_file_counts(tmp_path: Path) -> None:
    """A key that is written anew is a change, and so is one that is gone."""
    file, key = tmp_path / "config.yaml", tmp_path / "key"
    file.write_text(f"apiKeys: [{{keyFile: '{key}'}}]\nmodels: {{}}")
    key.write_text("first")
    watch = Watch([file], None)
    plan = load(file).plan
    assert plan is not None
    assert plan.key_files == (str(key),)
    watch.watch_also([key])
    assert [watch.has_changed() for _ in range(2)] == [False, False]
    key.write_text("second-one")
    assert [watch.has_changed() for _ in range(3)] == [False, True, False]
    key.unlink()
    assert [watch.has_changed() for _ in range(3)] == [False, True, False]


def test_looking_at_more_forgets_nothing(tmp_path: Path) -> None:
    """A change of the file between its first poll and the key files' is reported."""
    file, key = tmp_path / "config.yaml", tmp_path / "key"
    file.write_text("models: {}")
    key.write_text("k")
    watch = Watch([file], None)
    file.write_text("models: {} # more")
    watch.watch_also([key])
    watch.watch_also([key])
    assert [watch.has_changed() for _ in range(3)] == [False, True, False]


def test_files_that_are_all_gone_are_no_change(tmp_path: Path) -> None:
    """A configuration that is being replaced, or cannot be named, is waited for."""
    file, key = tmp_path / "config.yaml", tmp_path / "key"
    file.write_text("models: {}")
    key.write_text("k")
    watch = Watch([file, tmp_path / "a\0b"], tmp_path / "nowhere")
    watch.watch_also([key])
    file.unlink()
    assert [watch.has_changed() for _ in range(3)] == [False, False, False]


def test_every_file_that_is_read_counts(tmp_path: Path) -> None:
    """A file of the directory whose whole name is the ending is read, so it is watched, too."""
    (tmp_path / "a.yml").write_text("models: {}")
    watch = Watch([], tmp_path)
    (tmp_path / ".yaml").write_text("logLevel: debug")
    assert load(None, tmp_path).plan is not None
    assert [watch.has_changed() for _ in range(3)] == [False, True, False]
