"""What `modelswap pull` prints: bars on a terminal, lines elsewhere, JSON for programs, or paths alone."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Protocol, Self

from modelswap.pull.progress import PullPhase

from .terminal import say

if TYPE_CHECKING:
    from pathlib import Path

    from rich.progress import TaskID

    from modelswap.pull.progress import PullProgress

_STEP = 10
"""Percent between two lines where there is no terminal: a log is not flooded."""


class Output(Protocol):
    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def show(self, progress: PullProgress) -> None:
        """Tell of a change."""
        ...

    def end(self, progress: PullProgress, path: Path | None) -> None:
        """Tell how a pull ended, once all did."""
        ...


def output(*, as_json: bool, is_quiet: bool) -> Output:
    if as_json:
        return JsonLines()
    if is_quiet:
        return Paths()
    return Bars() if sys.stderr is not None and sys.stderr.isatty() else Lines()


class Paths:
    """Standard output has the path of each model, standard error why one is not here."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, progress: PullProgress) -> None:
        pass

    def end(self, progress: PullProgress, path: Path | None) -> None:
        if path is not None:
            print(path)  # noqa: T201 - the command's output
        else:
            say(f"{progress.source}: {progress.phase.value}: {progress.text}")


class Lines(Paths):
    """A line for each change of phase and each tenth."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[object, ...]] = {}

    def show(self, progress: PullProgress) -> None:
        step = progress.done * 100 // progress.total // _STEP if progress.total else 0
        now = (progress.phase, step)
        if progress.is_over or self._told.get(progress.source) == now:
            return
        self._told[progress.source] = now
        from modelswap.api.pulls.words import pull_words  # noqa: PLC0415 - as the server says it

        say(pull_words(progress))

    def end(self, progress: PullProgress, path: Path | None) -> None:
        if path is not None:
            from modelswap.api.pulls.words import size_words  # noqa: PLC0415 - the same

            note = f" ({progress.text})" if progress.text else ""
            say(f"pulled {progress.source}, {size_words(progress.done)}{note}")
        super().end(progress, path)


class Bars(Lines):
    """A bar for each pull, on a terminal."""

    def __init__(self) -> None:
        super().__init__()
        from rich.console import Console  # noqa: PLC0415 - only on a terminal
        from rich.progress import (  # noqa: PLC0415 - the same
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        self._bars = Progress(
            TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(),
            TransferSpeedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}", markup=False),
            console=Console(stderr=True),
        )  # fmt: skip
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def show(self, progress: PullProgress) -> None:
        name = progress.source
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=None, note="")
        note = progress.phase.value if progress.phase is not PullPhase.DOWNLOADING else ""
        self._bars.update(
            self._tasks[name], completed=progress.done, total=progress.total, note=note
        )

    def end(self, progress: PullProgress, path: Path | None) -> None:
        self._bars.stop()
        super().end(progress, path)


class JsonLines(Paths):
    """The progress as it is, for programs."""

    def show(self, progress: PullProgress) -> None:
        self._print(_as_json(progress))

    def end(self, progress: PullProgress, path: Path | None) -> None:
        self._print({**_as_json(progress), "path": str(path) if path else None})

    def _print(self, content: dict[str, Any]) -> None:
        print(json.dumps(content), flush=True)  # noqa: T201 - the command's output


def _as_json(progress: PullProgress) -> dict[str, Any]:
    files = [{"name": one.name, "done": one.done, "total": one.total} for one in progress.files]
    return {
        "source": progress.source,
        "phase": progress.phase.value,
        "done": progress.done,
        "total": progress.total,
        "rate": round(progress.rate),
        "secondsLeft": progress.seconds_left and round(progress.seconds_left),
        "files": files,
        "failure": progress.failure.value if progress.failure else None,
        "text": progress.text,
        "retryAfter": progress.retry_after,
    }
