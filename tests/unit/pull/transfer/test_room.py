"""Whether there is room for what is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelswap.pull.transfer.room import Room, free_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from modelswap.units import Bytes


def test_the_file_system_of_a_folder_that_is_not_there_yet_is_asked(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "a" / "b") > 0
    Room(tmp_path / "a").need(1)


def test_a_file_system_that_does_not_say_is_tried(tmp_path: Path) -> None:
    def hidden(_: Path) -> Bytes:
        raise OSError

    room = Room(tmp_path, hidden)
    room.need(1)
    room.written(1 << 40)
