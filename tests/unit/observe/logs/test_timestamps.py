"""Formats of times and durations."""

from __future__ import annotations

import re

import pytest

from modelswap.observe.logs.timestamps import FORMATS, go_duration

SHAPES = {
    "ansic": r"\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}",
    "unixdate": r"\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \S+ \d{4}",
    "rubydate": r"\w{3} \w{3} \d\d \d\d:\d\d:\d\d [+-]\d{4} \d{4}",
    "rfc822": r"\d\d \w{3} \d\d \d\d:\d\d \S+",
    "rfc822z": r"\d\d \w{3} \d\d \d\d:\d\d [+-]\d{4}",
    "rfc850": r"\w+day, \d\d-\w{3}-\d\d \d\d:\d\d:\d\d \S+",
    "rfc1123": r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d \S+",
    "rfc1123z": r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}",
    "rfc3339": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)",
    "rfc3339nano": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.1234567(Z|[+-]\d\d:\d\d)",
    "kitchen": r"\d{1,2}:\d\d[AP]M",
    "stamp": r"\w{3} [ \d]\d \d\d:\d\d:\d\d",
    "stampmilli": r"\w{3} [ \d]\d \d\d:\d\d:\d\d\.123",
    "stampmicro": r"\w{3} [ \d]\d \d\d:\d\d:\d\d\.123456",
    "stampnano": r"\w{3} [ \d]\d \d\d:\d\d:\d\d\.123456700",
}


@pytest.mark.parametrize("name", FORMATS)
def test_time_formats_have_their_shape(name: str) -> None:
    """Every name of `logTimeFormat` writes the shape of llama-swap."""
    assert re.fullmatch(SHAPES[name], FORMATS[name](1_790_000_000_123_456_700))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0000171, "17.1µs"),
        (0.0012345, "1.2345ms"),
        (0.5, "500ms"),
        (1.5, "1.5s"),
        (123.4, "2m3.4s"),
        (3723, "1h2m3s"),
    ],
)
def test_durations_read_as_in_llama_swap(seconds: float, text: str) -> None:
    """The access log's durations have llama-swap's notation."""
    assert go_duration(seconds) == text
