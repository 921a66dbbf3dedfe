"""Where models are looked for, and what was found there."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from modelswap.deferred import dataclass

if TYPE_CHECKING:
    from pathlib import Path

    from modelswap.catalog.found import FoundModel


@dataclass(frozen=True, slots=True)
class Places:
    folders: tuple[Path, ...] = ()
    stores: tuple[str, ...] = ()
    """Of other programs, by the names in `discover.stores`."""
    usual: bool = False
    """The folders and stores that are usual on this machine, too."""


@dataclass(frozen=True, slots=True)
class Findings:
    models: tuple[FoundModel, ...] = ()
    problems: tuple[str, ...] = ()
    """Places that could not be looked at, with the reason."""


Find = Callable[[Places], Findings]


@dataclass(frozen=True, slots=True)
class Discovery:
    """What the command line asks for beside the file's `discover`, and how it is looked for."""

    folders: tuple[Path, ...] = ()
    presets: tuple[Path, ...] = ()
    usual: bool = False
    find: Find | None = None
    """None: look once, and keep nothing of what is learnt on the way."""

    @property
    def is_asked(self) -> bool:
        """The command line itself asks for models."""
        return bool(self.folders or self.presets or self.usual)


NONE_ASKED = Discovery()
