"""The cache of headers: exact, bounded, and no worse than none when it is damaged."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import pytest

from modelswap.catalog import header_cache
from modelswap.catalog.files import FoundFile
from modelswap.catalog.header_cache import HeaderCache, Summary
from modelswap.catalog.models.summary import BrokenFile, GgufSummary, SafetensorsSummary

if TYPE_CHECKING:
    from pathlib import Path

FILE = FoundFile("/m/a.gguf", "a.gguf", size=10, mtime_ns=20, inode=30, device=40, is_link=False)
SUMMARIES: tuple[Summary, ...] = (
    GgufSummary(version=3, architecture="llama", type="model", parameters=7),
    SafetensorsSummary(9, ("BF16",)),
    BrokenFile("is empty"),
)


def numbered(number: int) -> FoundFile:
    return replace(FILE, path=f"/m/{number}.gguf")


def test_what_was_put_is_got(tmp_path: Path) -> None:
    """By the next process, too."""
    cache = HeaderCache(tmp_path / "state" / "headers")
    for number, summary in enumerate(SUMMARIES):
        cache.put(numbered(number), summary)
    cache.save()
    again = HeaderCache(tmp_path / "state" / "headers")
    assert tuple(again.get(numbered(number)) for number in range(3)) == SUMMARIES
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["headers"]


@pytest.mark.parametrize(
    "change", [{"size": 11}, {"mtime_ns": 21}, {"inode": 31}, {"path": "/m/b.gguf"}]
)
def test_a_changed_file_is_not_known(change: dict[str, int]) -> None:
    """Whatever of it has changed."""
    cache = HeaderCache()
    cache.put(FILE, SUMMARIES[0])
    assert cache.get(FILE) == SUMMARIES[0]
    assert cache.get(replace(FILE, **change)) is None  # type: ignore[arg-type]  # a field and its value


def test_any_damage_is_an_empty_cache(tmp_path: Path) -> None:
    """Cut anywhere, changed anywhere, of another version, or no cache at all."""
    path = tmp_path / "headers"
    cache = HeaderCache(path)
    cache.put(FILE, SUMMARIES[0])
    cache.save()
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        assert HeaderCache(path).get(FILE) is None
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + b"\xc1" + whole[place + 1 :])
        assert HeaderCache(path).get(FILE) in {None, *SUMMARIES} or place > 20
    content = msgspec.msgpack.decode(whole)
    path.write_bytes(msgspec.msgpack.encode({**content, "version": 0}))
    assert HeaderCache(path).get(FILE) is None
    assert HeaderCache(tmp_path).get(FILE) is None


def test_a_cache_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was used last stays."""
    monkeypatch.setattr(header_cache, "MOST_ENTRIES", 3)
    path = tmp_path / "headers"
    cache = HeaderCache(path)
    for number in range(3):
        cache.put(numbered(number), SUMMARIES[0])
    cache.save()
    cache = HeaderCache(path)
    assert cache.get(numbered(0)) is not None
    cache.put(numbered(3), SUMMARIES[0])
    cache.save()
    known = [number for number in range(4) if HeaderCache(path).get(numbered(number))]
    assert len(known) == 3
    assert {0, 3} <= set(known)


def test_nothing_is_written_without_a_change(tmp_path: Path) -> None:
    """A scan that only looked leaves the file alone."""
    path = tmp_path / "headers"
    HeaderCache(path).save()
    assert not path.exists()
