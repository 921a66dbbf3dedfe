"""Decisions about memory in words: for log, API, page and the requests that are refused.

Does not: name files or commands; every client may read the text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from modelswap.core.placement.policy import NeedSource

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from modelswap.core.placement.policy import DevicePool, Need, Question, Usage
    from modelswap.core.spec import ModelId
    from modelswap.units import Seconds

    from .board import Board, Option

_GIB: Final = 1 << 30
"""Bytes."""
_LARGE: Final = 10
"""GiB from which one place behind the point is enough."""
MOST_NAMED: Final = 3
"""Programs that are named as holders: a line has no room for more, and the first hold the most."""

NOT_READ: Final = "the devices have not been read yet: until then one model runs at a time"


def gib(size: float) -> str:
    """Return `1.50 GiB`; two places below 10 GiB, so that tiny models do not need 0.0 GiB."""
    value = size / _GIB
    return f"{value:.2f} GiB" if abs(value) < _LARGE else f"{value:.1f} GiB"


def just_loaded(models: Iterable[ModelId]) -> str:
    return f"{', '.join(models)} became ready only a moment ago (minResidency)"


def measured_alone(model: ModelId) -> str:
    return f"how much memory {model} needs is not known: it runs alone until it was measured"


def leaver(model: ModelId, size: int, reload: Seconds, usage: Usage) -> str:
    """Say of a model that leaves what that frees, and why it is this one."""
    used = "in use" if usage.in_flight else f"last used {usage.idle:.0f} s ago"
    return f"{model} ({gib(size)}, {used}, back in {reload:.1f} s)"


def making_room(need: Need, board: Board, option: Option, leaving: Sequence[str]) -> str:
    """Say what the target needs, what is free for it, and which models leave."""
    wanted = [
        f"{gib(one.amount)} on {_names(board, one.devices)}, where {gib(max(0, free))} are free"
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
        f"other programs hold {gib(pool.foreign)} of {pool.id}{_holders(pool)}"
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
        f"; loaded pinned models hold {gib(most - left)} of {pool.id}"
        for pool, left in zip(board.pools, free, strict=True)
        if (most := pool.total - pool.reserve) > left
    ]
    too_much = f"{gib(missing)} too much"
    return f"{target} needs {text} at most{_source(need)}: {too_much}{''.join(kept)}{more}"


def _ways(board: Board, need: Need) -> list[Option]:
    """Return the ways to place a need, those over several GPUs too."""
    return [*board.singles(need), *(option for options in board.splits(need) for option in options)]


def _shortage(board: Board, option: Option, free: Sequence[int]) -> tuple[int, str]:
    """Return by how many bytes an option is short of *free*, and its largest shortage in words."""
    missing = board.missing(option, free)
    worst, _ = max(missing, key=lambda one: one[1])
    room = max(0, sum(free[at] for at in worst.devices))
    text = f"{gib(worst.amount)} on {_names(board, worst.devices)}, which has {gib(room)} for it"
    return sum(short for _, short in missing), text


def _names(board: Board, devices: Sequence[int]) -> str:
    return " and ".join(board.pools[at].id for at in devices)


def _source(need: Need) -> str:
    return f" ({need.source})"


def _holders(pool: DevicePool) -> str:
    named = [f"{name} {gib(size)}" for name, size in pool.holders[:MOST_NAMED]]
    return f" ({', '.join(named)})" if named else ""
