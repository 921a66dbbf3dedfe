"""Decides which of the models that were found count now: a file that is being written is left alone. Pure.

Guarantees: what is found for the first time counts at once. Later a new or changed model counts once two
looks in a row found the same, and one that is gone once two looks did not find it. Until then what was
known of its file before goes on to count.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from modelswap.catalog.found import FoundModel

_Key = tuple[Path, str]
"""A model's path and id: two models of Ollama's store may have one file."""
Stamp = tuple[object, ...]
"""What changes while a model's files are being written."""


class Settling:
    def __init__(self, stamp: Callable[[FoundModel], Stamp]) -> None:
        self._stamp = stamp
        self._taken: dict[_Key, FoundModel] = {}
        self._seen: dict[_Key, tuple[FoundModel, Stamp | None]] = {}

    @property
    def taken(self) -> tuple[FoundModel, ...]:
        """The models that count."""
        return tuple(self._taken.values())

    @property
    def is_settled(self) -> bool:
        """All that was found at the last look counts, and nothing else does."""
        return {key: model for key, (model, _) in self._seen.items()} == self._taken

    def take(self, found: Iterable[FoundModel]) -> None:
        """Let everything count that was found."""
        self._taken = {_key(model): model for model in found}
        self._seen = {key: (model, None) for key, model in self._taken.items()}

    def look(self, found: Iterable[FoundModel]) -> bool:
        """Take in what was found this time; tell whether what counts has changed."""
        now = {_key(model): (model, self._stamp_of(model)) for model in found}
        before, self._seen = self._seen, now
        taken: dict[_Key, FoundModel] = {}
        for key, (model, stamp) in now.items():
            known = self._taken.get(key)
            if model == known or before.get(key) == (model, stamp):
                taken[key] = model
            elif known is not None:
                taken[key] = known
        gone = self._taken.keys() & before.keys() - now.keys()
        taken |= {key: self._taken[key] for key in gone}
        has_changed = taken != self._taken
        self._taken = taken
        return has_changed

    def _stamp_of(self, model: FoundModel) -> Stamp | None:
        """Look at the files of a model that does not count yet."""
        return None if self._taken.get(_key(model)) == model else self._stamp(model)


def _key(model: FoundModel) -> _Key:
    return model.path, model.id
