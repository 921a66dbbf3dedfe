"""What was found on disk, as lines for the log: new models, and files that cannot be served."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from modelswap.config.plan import Discovered, FoundEntry, Plan
    from modelswap.observe.logs.logs import Logger

_MOST_SHOWN: Final = 50
"""Lines of each sort: a folder may hold thousands of models."""


def log_found(log: Logger, now: Discovered | None, before: Discovered | None = None) -> None:
    """Write what is new since the plan before."""
    if now is None:
        return
    known = {_key(entry) for entry in (() if before is None else before.models)}
    fresh = [entry for entry in now.models if _key(entry) not in known]
    for line in _lines(f"found {one.id}: {one.model.path}" for one in fresh if not one.reason):
        log.info(line)
    for line in _lines(_refused(one) for one in fresh if one.reason and not one.model.problem):
        log.info(line)
    for line in _lines(_refused(one) for one in fresh if one.model.problem):
        log.warning(line)
    if not now.models and before is None:
        log.warning(f"no models were found in {', '.join(now.folders) or 'the usual places'}")


def _key(entry: FoundEntry) -> tuple[str, str, str]:
    return entry.id, str(entry.model.path), entry.reason


def _refused(entry: FoundEntry) -> str:
    return f"not served: {entry.model.path}: {entry.reason}"


def _lines(lines: Iterable[str]) -> list[str]:
    found = list(lines)
    more = len(found) - _MOST_SHOWN
    return [
        *found[:_MOST_SHOWN],
        *([f"and {more} more: GET /api/models/found"] if more > 0 else []),
    ]


def nothing_found(plan: Plan) -> list[str]:
    """Say that there is nothing to serve, where no source of models was named."""
    entries = () if plan.discovered is None else plan.discovered.models
    advice = "use --models-dir DIR or --config FILE"
    return [
        *_lines(_refused(one) for one in entries),
        f"modelswap: no configuration here, and no model in the usual places: {advice}",
    ]
