"""The last lines of what a model server has printed: why a start failed, for those who may read logs.

Guarantees: secrets are masked, as in the log. A line has a bound, and so has their number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from modelswap.observe.logs.logs import model_source, printable
from modelswap.units import Bytes

if TYPE_CHECKING:
    from modelswap.core.spec import ModelId
    from modelswap.observe.logs.logs import Logs

LAST_LINES: Final = 10
"""A cause and what it led to; `/logs/stream/<model>` has the rest."""
_LOOKED_AT: Final = Bytes(16 << 10)
"""The end of the output that is searched for them: long lines, ten times."""
_LONGEST: Final = 500
"""Characters of a line: a cause stands at its beginning."""


def last_lines(logs: Logs, model: ModelId) -> list[str]:
    """Return the last lines of a model server's output, without empty ones."""
    history = logs.history(model_source(model))
    text = history[-_LOOKED_AT:].decode("utf-8", "replace")
    lines = text.splitlines()
    if len(history) > _LOOKED_AT:
        del lines[:1]  # its beginning is missing
    found = [printable(line.rstrip()) for line in lines if line.strip()]
    return [
        line if len(line) <= _LONGEST else f"{line[:_LONGEST]} …" for line in found[-LAST_LINES:]
    ]
