"""Files of a model are removed from Hugging Face's cache, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from modelswap.pull.removal import NotInCacheError, remove

if TYPE_CHECKING:
    from pathlib import Path

OLD, NEW = "a" * 40, "b" * 40
Q4, Q8, EYES = "Foo-Q4_K_M.gguf", "Foo-Q8_0.gguf", "mmproj-Foo-F16.gguf"


class Cache:
    """One repository of the cache."""

    def __init__(self, folder: Path) -> None:
        self.repository = folder / "hub" / "models--owner--Foo-GGUF"
        for name in ("blobs", "refs", "snapshots"):
            (self.repository / name).mkdir(parents=True)
        (self.repository / "refs" / "main").write_text(NEW)

    def add(self, revision: str, *names: str) -> None:
        """Add files to a revision; the same name is the same blob."""
        snapshot = self.repository / "snapshots" / revision
        snapshot.mkdir(exist_ok=True)
        for name in names:
            blob = self.repository / "blobs" / name.replace(".", "")
            blob.write_bytes(b"x" * 100)
            (snapshot / name).symlink_to(f"../../blobs/{blob.name}")

    def path(self, revision: str, name: str) -> Path:
        return self.repository / "snapshots" / revision / name

    def left(self) -> list[str]:
        """What is left of links and blobs."""
        files = [*self.repository.glob("snapshots/*/*"), *self.repository.glob("blobs/*")]
        return sorted(str(file.relative_to(self.repository)) for file in files)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path)


def test_one_quantization_of_two(cache: Cache) -> None:
    """The other one stays, with the projector that it needs, in its revision."""
    cache.add(NEW, Q4, Q8, EYES, "README.md")
    freed = remove([cache.path(NEW, Q4), cache.path(NEW, EYES)])
    assert freed >= 100
    assert cache.left() == [
        "blobs/Foo-Q8_0gguf", "blobs/READMEmd", "blobs/mmproj-Foo-F16gguf",
        *(f"snapshots/{NEW}/{name}" for name in (Q8, "README.md", EYES)),
    ]  # fmt: skip


def test_the_last_model_takes_all_with_it(cache: Cache) -> None:
    """What lies beside it goes with its revision, by the cache's own strategy."""
    cache.add(NEW, Q4, EYES, "README.md")
    remove([cache.path(NEW, Q4), cache.path(NEW, EYES)])
    assert cache.left() == []


def test_every_revision_of_the_file(cache: Cache) -> None:
    """An older revision would bring the model back; one with another model stays."""
    cache.add(OLD, Q4)
    cache.add(NEW, Q4, Q8)
    remove([cache.path(NEW, Q4)])
    assert cache.left() == ["blobs/Foo-Q8_0gguf", f"snapshots/{NEW}/{Q8}"]


def test_a_blob_that_another_file_uses(cache: Cache) -> None:
    """Two names of one content share a blob; it stays as long as one of them does."""
    cache.add(NEW, Q4)
    cache.path(NEW, Q8).symlink_to("../../blobs/Foo-Q4_K_Mgguf")
    remove([cache.path(NEW, Q4)])
    assert cache.left() == ["blobs/Foo-Q4_K_Mgguf", f"snapshots/{NEW}/{Q8}"]


def test_a_link_that_leads_elsewhere(cache: Cache, tmp_path: Path) -> None:
    """A link goes; what it leads to outside of the repository stays."""
    mine = tmp_path / "mine.gguf"
    mine.write_bytes(b"x")
    cache.add(NEW, Q8)
    cache.path(NEW, Q4).symlink_to(mine)
    remove([cache.path(NEW, Q4)])
    assert mine.exists()
    assert not cache.path(NEW, Q4).is_symlink()


def test_files_elsewhere_are_not_removed(cache: Cache, tmp_path: Path) -> None:
    """A folder of the user's is none of the cache, nor is nothing; of a mixture nothing goes."""
    cache.add(NEW, Q4)
    mine = tmp_path / "models" / "a.gguf"
    mine.parent.mkdir()
    mine.write_bytes(b"x")
    for files in ([mine], [], [cache.path(NEW, Q4), mine]):
        with pytest.raises(NotInCacheError):
            remove(files)
    assert mine.exists()
    assert cache.path(NEW, Q4).exists()
