"""Files that are being written while the folders are looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelswap.config.discover.disk.settling import Settling, Stamp
from support.found_models import found_model

if TYPE_CHECKING:
    from modelswap.catalog.found import FoundModel

OLD, NEW = found_model("old"), found_model("new")


class GrowingFiles:
    """The stamp of every file changes with each tick."""

    now = 0

    def stamp(self, model: FoundModel) -> Stamp:
        return model.id, self.now


def _started(*models: FoundModel) -> tuple[Settling, GrowingFiles]:
    files = GrowingFiles()
    settling = Settling(files.stamp)
    settling.take(models)
    return settling, files


def test_what_is_there_first_counts_at_once() -> None:
    """The first look takes everything, and the same again is no change."""
    settling, _ = _started(OLD)
    assert settling.taken == (OLD,)
    assert not settling.look([OLD])


def test_a_new_file_counts_at_the_second_look() -> None:
    """One look more shows that it stands still."""
    settling, _ = _started(OLD)
    assert not settling.look([OLD, NEW])
    assert settling.look([OLD, NEW])
    assert settling.taken == (OLD, NEW)
    assert not settling.look([OLD, NEW])


def test_a_file_that_grows_holds_nothing_up() -> None:
    """It is left alone as long as it changes; others come and go meanwhile."""
    settling, files = _started(OLD)
    other = found_model("other")
    for tick in range(4):
        files.now = tick
        settling.look([OLD, NEW] if tick < 2 else [OLD, NEW, other])
    assert settling.taken == (OLD,)
    files.now = 4
    settling.look([OLD, NEW, other])
    assert not settling.taken[1:]
    assert settling.look([OLD, NEW, other])
    assert list(settling.taken) == [OLD, NEW, other]


def test_a_removed_file_is_gone_at_the_second_look() -> None:
    """A file that is only exchanged is missing for a moment."""
    settling, _ = _started(OLD)
    assert not settling.look([])
    assert not settling.look([OLD])
    assert not settling.look([])
    assert settling.look([])
    assert settling.taken == ()


def test_a_rewritten_file_is_known_as_before_until_it_stands_still() -> None:
    """While a model's file is written anew, what was known of it counts."""
    settling, files = _started(OLD)
    changed = found_model("old", problem="truncated")
    assert not settling.look([changed])
    files.now = 1
    assert not settling.look([changed])
    assert settling.taken == (OLD,)
    assert settling.look([changed])
    assert settling.taken == (changed,)
