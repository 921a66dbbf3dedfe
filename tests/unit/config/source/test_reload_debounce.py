"""When a change on disk is loaded."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from modelswap.config.source.reload_debounce import STABLE_POLLS, watch_files
from modelswap.config.source.watching import Watch

if TYPE_CHECKING:
    from pathlib import Path


class Eager:
    """Watches one file, and notes what it was told."""

    def __init__(self, file: Path) -> None:
        self.told: list[str] = []
        self._file = file
        self._watch = Watch([file], None)

    async def run(self) -> None:
        await watch_files(
            self._watch,
            takes_all=self.takes_all,
            changed=lambda: self.told.append(self._file.read_text()),
            warn=self.told.append,
            every=0,
        )

    async def takes_all(self) -> bool:
        if self._file.read_text() == "bug":
            raise ZeroDivisionError
        return not self._file.read_text()


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_file_that_takes_all_away_waits(tmp_path: Path) -> None:
    """An ordinary change counts at once, one that removes every model only after more polls."""
    file = tmp_path / "config.yaml"
    file.write_text("models")
    eager = Eager(file)
    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(eager.run())
        await turns(2)
        for text in ("more models", "bug"):
            file.write_text(text)
            await turns(6)
            assert eager.told.pop() == text
        file.write_text("")
        await turns(STABLE_POLLS - 2)
        assert [told[:17] for told in eager.told] == ["the configuration"]
        file.write_text("back again")
        await turns(6)
        assert eager.told[1:] == ["back again"]
        file.write_text("")
        await turns(STABLE_POLLS + 6)
        assert eager.told[3:] == [""]
        file.unlink()
        await turns(STABLE_POLLS + 6)
        assert [told[-5:] for told in eager.told[4:]] == ["stays"]
        watching.cancel()
