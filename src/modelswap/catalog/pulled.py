"""Models that were pulled: which of them are on this machine, complete."""

from __future__ import annotations

from .pull_source import parse_source
from .pulls.model import PulledModel as PulledModel  # noqa: PLC0414, TC001 - exported


def located(source: str) -> PulledModel | None:
    """Return the model if all its files are here; a look at the disk, no network.

    It reads folders and small files: never on the event loop. Raise `ValueError` for no source.
    """
    from .pulls.local import locate  # noqa: PLC0415 - only where a model has a source
    from .pulls.places import Places  # noqa: PLC0415 - the same

    return locate(parse_source(source), Places.usual())
