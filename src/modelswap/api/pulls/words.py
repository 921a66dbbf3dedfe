"""How a pull stands, in words for the client that waits for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from modelswap.deferred import dataclass
from modelswap.pull.progress import PullPhase

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelswap.pull.progress import PullProgress

_SIZES: Final = (("GB", 10**9), ("MB", 10**6), ("kB", 10**3))
"""Decimal, as the hub's pages count them."""
_MINUTE: Final = 60  # seconds
_LONG: Final = 120
"""Seconds from which a time is told in minutes."""


def pull_words(pull: PullProgress) -> str:
    """Write `pulling hf:O/R:Q4_K_M … 34 %, 1.2 of 3.5 GB, 57.5 MB/s, 40 s left`."""
    if pull.phase is PullPhase.STALLED:
        return f"the pull of {pull.source} has stalled: {pull.text or 'nothing comes'}"
    if pull.phase is PullPhase.RESOLVING:
        return f"pulling {pull.source}: {pull.text or 'asking which files there are'}"
    return ", ".join([f"pulling {pull.source} … {_share(pull)}".rstrip(" …"), *_amounts(pull)])


def plan_words(model: str, source: str, pull: PullProgress | None, then: str) -> str:
    """Say that a model's files come first, and *then* what; `pull` is `None` where none runs."""
    if pull is None:
        return f"The files of {model} are not here: {source} would be pulled first. Then {then}"
    return f"{model} waits for its files: {pull_words(pull)}. Then {then}"


def _share(pull: PullProgress) -> str:
    return f"{min(100, pull.done * 100 // pull.total)} %" if pull.total else ""


def _amounts(pull: PullProgress) -> list[str]:
    if not pull.total:
        return [size_words(pull.done)] if pull.done else []
    left = pull.seconds_left
    unit, size = next((one for one in _SIZES if pull.total >= one[1]), ("B", 1))
    amount = f"{_rounded(pull.done / size)} of {_rounded(pull.total / size)} {unit}"
    rate = [f"{size_words(int(pull.rate))}/s"] if pull.rate >= 1 else []
    return [amount, *rate] if left is None else [amount, *rate, f"{time_words(left)} left"]


def _rounded(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")


def size_words(size: int) -> str:
    unit, of = next((one for one in _SIZES if size >= one[1]), ("B", 1))
    return f"{_rounded(size / of)} {unit}"


def time_words(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < _LONG else f"{seconds / _MINUTE:.0f} min"


@dataclass(slots=True, eq=False)
class PullWords:
    """Tells a reader each state of a pull once."""

    pull: Callable[[], PullProgress | None]
    _told: str = ""

    def __call__(self) -> str:
        """Return a line, or nothing where no pull runs or it stands as it did."""
        found = self.pull()
        words = "" if found is None else f"\n{pull_words(found)} "
        if words == self._told:
            return ""
        self._told = words
        return words
