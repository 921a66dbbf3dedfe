"""Token figures in the objects that model servers report.

Guarantees: a number is read in any spelling that llama-swap accepts (`"9"`, `1.7`). Pure.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Final, cast

import msgspec

from modelswap.deferred import regex

if TYPE_CHECKING:
    from collections.abc import Iterable

_NUMBER: Final = regex(r"\s*[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
_LARGEST: Final = (1 << 62) - 1  # tokens or ms: fits into a column of SQLite
_LARGEST_REAL: Final = 1e300  # tokens per second: far from an overflow
_UNSET: Final = msgspec.UNSET


class UsageFormat(Enum):
    """Where a whole response holds its token figures."""

    OBJECT = "an object"
    LAST_OF_LIST = "the last object of a list"
    """Of an object, or of a list's last one, only the timings count."""


def real(value: object) -> float:
    """Read a JSON value as a number; 0 when it is none."""
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
    """Read a JSON value as a whole number that a database can hold."""
    if type(value) is int and 0 <= value <= _LARGEST:
        return value
    number = value if type(value) is int else int(real(value))
    return max(-_LARGEST, min(_LARGEST, number))


def member(value: object, *path: str) -> object:
    """Return the value at a path of keys; `None` when a key is missing."""
    for key in path:
        if not isinstance(value, dict):
            return None
        value = cast("dict[str, object]", value).get(key)
    return value


def _cached(usage: dict[str, object]) -> object:
    found = usage.get("cache_read_input_tokens")
    for details in ("input_tokens_details", "prompt_tokens_details"):
        if found is None:
            found = member(usage.get(details), "cached_tokens")
    return found


class Counts(msgspec.Struct):
    """Token counts from the usage objects of one response so far."""

    input: int = 0
    output: int = 0
    cached: int = -1

    def take(self, value: object) -> bool:
        """Add one usage object: later positive values win. Return False without a known name."""
        if not isinstance(value, dict):
            return False
        usage = cast("dict[str, object]", value)
        prompt = usage.get("prompt_tokens")
        if prompt is None:
            prompt = usage.get("input_tokens")
        output = usage.get("completion_tokens")
        if output is None:
            output = usage.get("output_tokens")
        cached = _cached(usage)
        if prompt is not None:
            self.input = max(whole(prompt), 0) or self.input
        if output is not None:
            self.output = max(whole(output), 0) or self.output
        if cached is not None and (count := whole(cached)) >= 0:
            self.cached = count
        return not (prompt is None and output is None and cached is None)


class TokenSums(msgspec.Struct, gc=False):
    """Tokens of many responses; an unknown number counts as 0."""

    prompt: int = 0
    generated: int = 0
    cached: int = 0
    drafted: int = 0
    accepted: int = 0


class Tokens(msgspec.Struct, frozen=True, gc=False):
    """The figures of one response, with llama-swap's conventions for "unknown".

    Nothing reported: the first seven are 0. Something reported: -1 for each unknown one.
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
    """From the arrival of the request to the first byte of the response body; -1: none came."""
    wall_per_second: float = -1.0
    """Measured from the first byte on: for servers that report no speed."""
    events: int = 0
    """Server-sent events counted."""
    finish_reason: str = ""
    error: str = ""
    parsed: bool = False

    def sums(self) -> TokenSums:
        counts = (self.input, self.output, self.cached, self.drafted, self.accepted)
        sums = TokenSums(*(max(count, 0) for count in counts))
        if not sums.drafted:
            sums.accepted = 0
        return sums


Figures = tuple[int, int, int, int, int, float, float, int]
"""The first eight fields of `Tokens`."""


def combine(counts: Counts, timings: object, metrics: object, *, wall_ms: int) -> Figures:
    """Merge the three sources: llama.cpp's timings replace usage, vLLM's metrics override speeds."""
    cached, prompt, output = counts.cached, counts.input, counts.output
    drafted = accepted = -1
    prompt_speed = speed = -1.0
    duration = wall_ms
    if isinstance(timings, dict):
        t = cast("dict[str, object]", timings)
        prompt, output = whole(t.get("prompt_n")), whole(t.get("predicted_n"))
        prompt_speed = real(t.get("prompt_per_second"))
        speed = real(t.get("predicted_per_second"))
        duration = max(wall_ms, whole(real(t.get("prompt_ms")) + real(t.get("predicted_ms"))))
        if "cache_n" in t:
            cached = whole(t["cache_n"])
        if "draft_n" in t and "draft_n_accepted" in t:
            drafted, accepted = whole(t["draft_n"]), whole(t["draft_n_accepted"])
    if metrics is None or metrics is msgspec.UNSET:
        return cached, drafted, accepted, prompt, output, prompt_speed, speed, duration
    speculative = member(metrics, "speculative_decoding")
    proposed = member(speculative, "num_draft_tokens")
    taken = member(speculative, "num_accepted_draft_tokens")
    if proposed is not None and taken is not None:
        drafted, accepted = whole(proposed), whole(taken)
    first = real(member(metrics, "time_to_first_token_ms"))
    if first > 0:
        prompt_speed = (prompt - max(cached, 0)) / (first / 1000)
    between = real(member(metrics, "mean_itl_ms"))
    if between > 0:
        speed = 1000 / between
    return cached, drafted, accepted, prompt, output, prompt_speed, speed, duration


class UsageEvent(msgspec.Struct):
    """The fields of a stream's event that hold figures; the decoder skips all others."""

    usage: Any = _UNSET
    timings: Any = _UNSET
    metrics: Any = _UNSET
    response: Any = _UNSET
    message: Any = _UNSET

    def usages(self) -> tuple[object, object, object]:
        """The places of usage in an event: chat completions, Responses API, Anthropic."""
        return self.usage, member(self.response, "usage"), member(self.message, "usage")


class UsageBody(msgspec.Struct):
    """The fields of a whole body that hold figures; nested usage does not count."""

    usage: Any = _UNSET
    timings: Any = _UNSET
    metrics: Any = _UNSET

    def reports(self) -> bool:
        """Whether any of the three names is present, even with `null`."""
        return self.usage is not _UNSET or self.timings is not _UNSET or self.metrics is not _UNSET


_Natural = Annotated[int, msgspec.Meta(ge=0, le=_LARGEST)]
_Count = _Natural | None
_Real = Annotated[float, msgspec.Meta(gt=-_LARGEST, lt=_LARGEST)]


class _Details(msgspec.Struct, gc=False):
    cached_tokens: _Count = None


class Usage(msgspec.Struct, gc=False):
    """A usage object with whole numbers only, the usual spelling."""

    prompt_tokens: _Count = None
    input_tokens: _Count = None
    completion_tokens: _Count = None
    output_tokens: _Count = None
    cache_read_input_tokens: _Count = None
    input_tokens_details: _Details | None = None
    prompt_tokens_details: _Details | None = None

    def counts(self) -> tuple[int, int, int]:
        """Return prompt, generated and cached tokens; -1: not reported."""
        prompt, output = self.prompt_tokens, self.completion_tokens
        if prompt is None:
            prompt = self.input_tokens
        if output is None:
            output = self.output_tokens
        cached = self.cached()
        return prompt or 0, output or 0, -1 if cached is None else cached

    def cached(self) -> int | None:
        count = self.cache_read_input_tokens
        if count is None and (details := self.input_tokens_details) is not None:
            count = details.cached_tokens
        if count is None and (details := self.prompt_tokens_details) is not None:
            count = details.cached_tokens
        return count


class Timings(msgspec.Struct, gc=False):
    """llama.cpp's timings in their usual spelling."""

    prompt_n: _Natural = 0
    predicted_n: _Natural = 0
    prompt_ms: _Real = 0.0
    predicted_ms: _Real = 0.0
    prompt_per_second: _Real = 0.0
    predicted_per_second: _Real = 0.0
    cache_n: _Natural = -1
    draft_n: _Natural = -1
    draft_n_accepted: _Natural = -1


class _Choice(msgspec.Struct, gc=False):
    finish_reason: str | None = None


class CommonBody(msgspec.Struct, gc=False):
    """The usual body, decoded in one step; one that does not fit is read as `UsageBody`.

    `add_up` reads every one, `tokens` those whose rows are read.
    """

    usage: Usage | msgspec.UnsetType | None = _UNSET
    timings: Timings | msgspec.UnsetType = _UNSET
    metrics: msgspec.UnsetType = _UNSET
    """Whatever it is, it makes the body an unusual one."""
    choices: list[_Choice] | None = None
    stop_reason: str | None = None

    def tokens(self, wall: int, ttft: int) -> Tokens:
        """Compute what `combine` computes from the same values without `metrics`."""
        choices = self.choices
        reason = (choices[-1].finish_reason if choices else self.stop_reason) or ""
        usage, timings = self.usage, self.timings
        if timings is _UNSET and usage is _UNSET:
            return Tokens(duration_ms=wall, ttft_ms=ttft, finish_reason=reason)
        reported = (0, 0, -1) if usage is _UNSET or usage is None else usage.counts()
        prompt, output, cached = reported
        drafted = accepted = -1
        prompt_speed = speed = -1.0
        if timings is not _UNSET:  # they replace the counts of usage
            prompt, output = timings.prompt_n, timings.predicted_n
            prompt_speed, speed = timings.prompt_per_second, timings.predicted_per_second
            wall = max(wall, int(timings.prompt_ms + timings.predicted_ms))
            if timings.cache_n >= 0:
                cached = timings.cache_n
            if timings.draft_n >= 0 and timings.draft_n_accepted >= 0:
                drafted, accepted = timings.draft_n, timings.draft_n_accepted
        return Tokens(
            cached,
            drafted,
            accepted,
            prompt,
            output,
            prompt_speed,
            speed,
            wall,
            ttft,
            finish_reason=reason,
            parsed=True,
        )


def add_up(bodies: Iterable[CommonBody], durations: list[int]) -> TokenSums:
    """Add up the tokens of many responses.

    `durations` in ms: where timings are longer, they replace the duration in its place.
    """
    prompt = generated = cached = drafted = accepted = 0
    for at, body in enumerate(bodies):
        usage = body.usage
        timings = body.timings
        if timings is not _UNSET:  # they replace the counts of usage
            prompt += timings.prompt_n
            generated += timings.predicted_n
            spent = timings.prompt_ms + timings.predicted_ms
            if spent > durations[at]:
                durations[at] = int(spent)
            if timings.draft_n > 0 and timings.draft_n_accepted >= 0:
                drafted += timings.draft_n
                accepted += timings.draft_n_accepted
            if timings.cache_n >= 0:
                cached += timings.cache_n
            elif usage is not _UNSET and usage is not None:
                cached += usage.cached() or 0
        elif usage is not _UNSET and usage is not None:
            counts = usage.counts()
            prompt += counts[0]
            generated += counts[1]
            if counts[2] > 0:
                cached += counts[2]
    return TokenSums(prompt, generated, cached, drafted, accepted)
