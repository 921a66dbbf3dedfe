"""Decisions about memory in words: for log, API, page and the requests that are refused.

Does not: name files or commands; every client may read the text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from modelswap.core.explaining.quantities import size_text
from modelswap.core.placement.policy import NeedSource

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from modelswap.core.placement.policy import DevicePool, Need, Question
    from modelswap.core.spec import ModelId

    from .board import Board, Option

MOST_NAMED: Final = 3
"""Programs that are named as holders: a line has no room for more, and the first hold the most."""

NOT_READ: Final = "the devices have not been read yet: until then one model runs at a time"


def just_loaded(models: Iterable[ModelId]) -> str:
    return f"{', '.join(models)} became ready only a moment ago (minResidency)"


def measured_alone(model: ModelId) -> str:
    return f"how much memory {model} needs is not known: it runs alone until it was measured"


def making_room(need: Need, board: Board, option: Option, leaving: Sequence[str]) -> str:
    """Say what the target needs, what is free for it, and which models leave."""
    wanted = [
        f"{size_text(one.amount)} on {_names(board, one.devices)}, "
        f"where {size_text(max(0, free))} are free"
        for one, free in (
            (one, sum(board.free[at] for at in one.devices)) for one in option.demands
        )
        if free < one.amount
    ]
    needs = f"it needs {' and '.join(wanted)}" if wanted else "others run whose need is not known"
    return f"{needs}{_source(need)}; the cheapest to leave: {', '.join(leaving)}"


def held_by_others(question: Question, need: Need, board: Board, free: Sequence[int]) -> str:
    """Say what keeps the target from room that there is: other programs, or servers that do not exit."""
    short = [_shortage(board, option, free) for option in _ways(board, need)]
    parts = [f"{question.target} needs {min(short)[1]}{_source(need)}"]
    parts += [
        f"other programs hold {size_text(pool.foreign)} of {pool.id}{_holders(pool)}"
        for pool in board.pools
        if pool.foreign
    ]
    parts += [f"{model} was killed but does not exit" for model in sorted(question.stuck)]
    return "; ".join(parts)


def never(target: ModelId, need: Need, board: Board, free: Sequence[int]) -> str:
    """Say by how much the target is too large for what there can be at most."""
    short = [_shortage(board, option, free) for option in _ways(board, need)]
    missing, text = min(short)
    more = "; the key memory: of the model says otherwise" * (need.source is NeedSource.PREDICTED)
    kept = [
        f"; loaded pinned models hold {size_text(most - left)} of {pool.id}"
        for pool, left in zip(board.pools, free, strict=True)
        if (most := pool.total - pool.reserve) > left
    ]
    too_much = f"{size_text(missing)} too much"
    return f"{target} needs {text} at most{_source(need)}: {too_much}{''.join(kept)}{more}"


def _ways(board: Board, need: Need) -> list[Option]:
    """Return the ways to place a need, those over several GPUs too."""
    return [*board.singles(need), *(option for options in board.splits(need) for option in options)]


def _shortage(board: Board, option: Option, free: Sequence[int]) -> tuple[int, str]:
    """Return by how many bytes an option is short of *free*, and its largest shortage in words."""
    missing = board.missing(option, free)
    worst, _ = max(missing, key=lambda one: one[1])
    room = max(0, sum(free[at] for at in worst.devices))
    text = f"{size_text(worst.amount)} on {_names(board, worst.devices)}, which has {size_text(room)} for it"
    return sum(short for _, short in missing), text


def _names(board: Board, devices: Sequence[int]) -> str:
    return " and ".join(board.pools[at].id for at in devices)


def _source(need: Need) -> str:
    return f" ({need.source})"


def _holders(pool: DevicePool) -> str:
    named = [f"{name} {size_text(size)}" for name, size in pool.holders[:MOST_NAMED]]
    return f" ({', '.join(named)})" if named else ""
