"""Token figures out of the objects that model servers report.

Law: a number is believed in any spelling that the original accepts (`"9"`,
`1.7`), and what is not reported is `None` here, never zero. Pure.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Annotated, Any, Final, cast

import msgspec

_NUMBER: Final = re.compile(r"\s*[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
_LARGEST: Final = (1 << 62) - 1
_LARGEST_REAL: Final = 1e300
_UNSET: Final = msgspec.UNSET


class UsageFormat(Enum):
    """Where a whole response holds its token figures."""

    OBJECT = "an object"
    LAST_OF_LIST = "the last object of a list"
    """Of an object, or of a list's last one, only the timings count."""


def real(value: object) -> float:
    """The number that a JSON value stands for; 0 for none."""
    if isinstance(value, str):
        match = _NUMBER.match(value)
        value = float(match.group()) if match else 0
    if not isinstance(value, (int, float)):
        return 0.0
    try:
        number = float(value)
    except OverflowError:
        return 0.0
    return number if -_LARGEST_REAL < number < _LARGEST_REAL else 0.0


def whole(value: object) -> int:
    """The same, cut to a whole number that a database can hold."""
    if type(value) is int and 0 <= value <= _LARGEST:
        return value
    number = value if type(value) is int else int(real(value))
    return max(-_LARGEST, min(_LARGEST, number))


def member(value: object, *path: str) -> object:
    """What stands at a path of keys; `None` when any of it is missing."""
    for key in path:
        if not isinstance(value, dict):
            return None
        value = cast("dict[str, object]", value).get(key)
    return value


def _cached(usage: dict[str, object]) -> object:
    found = usage.get("cache_read_input_tokens")
    if found is None and (details := usage.get("input_tokens_details")) is not None:
        found = member(details, "cached_tokens")
    if found is None and (details := usage.get("prompt_tokens_details")) is not None:
        found = member(details, "cached_tokens")
    return found


class Counts(msgspec.Struct):
    """What the usage objects of one answer said so far."""

    input: int = 0
    output: int = 0
    cached: int = -1

    def take(self, value: object) -> bool:
        """Take one usage object in; later positive values win. False: it holds no known name."""
        if not isinstance(value, dict):
            return False
        usage = cast("dict[str, object]", value)
        given = usage.get("prompt_tokens")
        if given is None:
            given = usage.get("input_tokens")
        made = usage.get("completion_tokens")
        if made is None:
            made = usage.get("output_tokens")
        cached = _cached(usage)
        if given is not None:
            self.input = max(whole(given), 0) or self.input
        if made is not None:
            self.output = max(whole(made), 0) or self.output
        if cached is not None and (count := whole(cached)) >= 0:
            self.cached = count
        return not (given is None and made is None and cached is None)


class Tokens(msgspec.Struct, frozen=True, gc=False):
    """The figures of one answer, with the original's conventions for "unknown".

    Nothing reported: all of the first seven are 0. Something reported: -1 for
    what is not known. The later ones are ours, from the clock.
    """

    cached: int = 0
    drafted: int = 0
    accepted: int = 0
    input: int = 0
    output: int = 0
    prompt_per_second: float = 0.0
    per_second: float = 0.0
    duration_ms: int = 0
    ttft_ms: int = -1
    """From the arrival of the request to the first byte of the answer's body; -1: none came."""
    wall_per_second: float = -1.0
    """Tokens after the first byte, by the clock: for servers that report no speed."""
    events: int = 0
    """Server-sent events counted."""
    finish_reason: str = ""
    error: str = ""
    parsed: bool = False


Figures = tuple[int, int, int, int, int, float, float, int]


def told(
    figures: Figures,
    *,
    ttft_ms: int,
    reason: str,
    wall_per_second: float = -1.0,
    events: int = 0,
) -> Tokens:
    """Name the figures of an answer, with what the clock says beside them."""
    cached, drafted, accepted, given, made, prompt_speed, speed, duration = figures
    return Tokens(
        cached=cached,
        drafted=drafted,
        accepted=accepted,
        input=given,
        output=made,
        prompt_per_second=prompt_speed,
        per_second=speed,
        duration_ms=duration,
        ttft_ms=ttft_ms,
        wall_per_second=wall_per_second,
        events=events,
        finish_reason=reason,
        parsed=True,
    )


def combine(counts: Counts, timings: object, metrics: object, *, wall_ms: int) -> Figures:
    """Merge the three sources: llama.cpp's timings replace usage, vLLM's metrics override speeds.

    Returns cached, drafted, accepted, input, output, prompt speed, speed, duration in ms.
    """
    cached, given, made = counts.cached, counts.input, counts.output
    drafted = accepted = -1
    prompt_speed = speed = -1.0
    duration = wall_ms
    if isinstance(timings, dict):
        t = cast("dict[str, object]", timings)
        given, made = whole(t.get("prompt_n")), whole(t.get("predicted_n"))
        prompt_speed = real(t.get("prompt_per_second"))
        speed = real(t.get("predicted_per_second"))
        duration = max(wall_ms, whole(real(t.get("prompt_ms")) + real(t.get("predicted_ms"))))
        if "cache_n" in t:
            cached = whole(t["cache_n"])
        if "draft_n" in t and "draft_n_accepted" in t:
            drafted, accepted = whole(t["draft_n"]), whole(t["draft_n_accepted"])
    if metrics is None or metrics is msgspec.UNSET:
        return cached, drafted, accepted, given, made, prompt_speed, speed, duration
    speculative = member(metrics, "speculative_decoding")
    proposed = member(speculative, "num_draft_tokens")
    taken = member(speculative, "num_accepted_draft_tokens")
    if proposed is not None and taken is not None:
        drafted, accepted = whole(proposed), whole(taken)
    first = real(member(metrics, "time_to_first_token_ms"))
    if first > 0:
        prompt_speed = (given - max(cached, 0)) / (first / 1000)
    between = real(member(metrics, "mean_itl_ms"))
    if between > 0:
        speed = 1000 / between
    return cached, drafted, accepted, given, made, prompt_speed, speed, duration


class Answer(msgspec.Struct):
    """The part of an answer or event that holds figures; everything else is skipped unread."""

    usage: Any = msgspec.UNSET
    timings: Any = msgspec.UNSET
    metrics: Any = msgspec.UNSET
    response: Any = msgspec.UNSET
    message: Any = msgspec.UNSET

    def usages(self) -> tuple[object, object, object]:
        """Where a stream's event may hold usage: plain, Responses API, Anthropic."""
        return self.usage, member(self.response, "usage"), member(self.message, "usage")


class Body(msgspec.Struct):
    """The same for a whole body, where nested usage does not count."""

    usage: Any = msgspec.UNSET
    timings: Any = msgspec.UNSET
    metrics: Any = msgspec.UNSET

    def reports(self) -> bool:
        """Whether it holds any of the three names, were it only with `null`."""
        unset = msgspec.UNSET
        return self.usage is not unset or self.timings is not unset or self.metrics is not unset


_Count = Annotated[int, msgspec.Meta(ge=-_LARGEST, le=_LARGEST)] | None
_Real = Annotated[float, msgspec.Meta(gt=-_LARGEST, lt=_LARGEST)]


class _Details(msgspec.Struct, gc=False):
    cached_tokens: _Count = None


class Usage(msgspec.Struct, gc=False):
    """A usage object in its usual spelling: whole numbers only."""

    prompt_tokens: _Count = None
    input_tokens: _Count = None
    completion_tokens: _Count = None
    output_tokens: _Count = None
    cache_read_input_tokens: _Count = None
    input_tokens_details: _Details | None = None
    prompt_tokens_details: _Details | None = None

    def figures(self) -> tuple[int, int, int]:
        """Tokens read, made, and known before (-1: the server does not say)."""
        given = self.input_tokens if self.prompt_tokens is None else self.prompt_tokens
        made = self.output_tokens if self.completion_tokens is None else self.completion_tokens
        cached = self.cache_read_input_tokens
        if cached is None and self.input_tokens_details is not None:
            cached = self.input_tokens_details.cached_tokens
        if cached is None and self.prompt_tokens_details is not None:
            cached = self.prompt_tokens_details.cached_tokens
        return (
            given if given and given > 0 else 0,
            made if made and made > 0 else 0,
            -1 if cached is None or cached < 0 else cached,
        )


class Timings(msgspec.Struct, gc=False):
    """llama.cpp's timings in their usual spelling."""

    prompt_n: _Count = None
    predicted_n: _Count = None
    prompt_ms: _Real = 0.0
    predicted_ms: _Real = 0.0
    prompt_per_second: _Real = 0.0
    predicted_per_second: _Real = 0.0
    cache_n: _Count | msgspec.UnsetType = msgspec.UNSET
    draft_n: _Count | msgspec.UnsetType = msgspec.UNSET
    draft_n_accepted: _Count | msgspec.UnsetType = msgspec.UNSET


class _Choice(msgspec.Struct, gc=False):
    finish_reason: str | None = None


class Plain(msgspec.Struct, gc=False):
    """The usual body, read at once; whatever does not fit is read as `Body`."""

    usage: Usage | msgspec.UnsetType | None = msgspec.UNSET
    timings: Timings | msgspec.UnsetType = msgspec.UNSET
    metrics: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    choices: list[_Choice] | None = None
    stop_reason: str | None = None

    def tokens(self, wall: int, ttft: int) -> Tokens:
        """What `combine` makes of the same values, where there are no `metrics`."""
        usage = self.usage
        timings = self.timings
        reason = self.choices[-1].finish_reason if self.choices else self.stop_reason
        cached = drafted = accepted = -1
        given = made = 0
        if isinstance(usage, Usage):
            given, made, cached = usage.figures()
        elif usage is _UNSET and timings is _UNSET:
            return Tokens(duration_ms=wall, ttft_ms=ttft, finish_reason=reason or "")
        if isinstance(timings, Timings):
            given, made = timings.prompt_n or 0, timings.predicted_n or 0
            prompt_speed, speed = timings.prompt_per_second, timings.predicted_per_second
            spent = int(timings.prompt_ms + timings.predicted_ms)
            wall = spent if spent > wall else wall  # noqa: FURB136 - `max` costs three times as much
            if timings.cache_n is not _UNSET:
                cached = timings.cache_n or 0
            if timings.draft_n is not _UNSET and timings.draft_n_accepted is not _UNSET:
                drafted, accepted = timings.draft_n or 0, timings.draft_n_accepted or 0
        else:
            prompt_speed = speed = -1.0
        return Tokens(  # by place: names cost half as much again
            cached,
            drafted,
            accepted,
            given,
            made,
            prompt_speed,
            speed,
            wall,
            ttft,
            -1.0,
            0,
            reason or "",
            "",
            True,  # noqa: FBT003 - parsed
        )
