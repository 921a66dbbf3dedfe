"""What a server says of the time to wait."""

from __future__ import annotations

import pytest

from modelswap.pull.transfer.http_answers import retry_after

NOW = "Fri, 27 Nov 2026 21:00:00 GMT"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, None),
        ({"retry-after": "30"}, 30),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "²"}, None),
        ({"retry-after": "Fri, 27 Nov 2026 21:02:00 GMT", "date": NOW}, 120),
        ({"retry-after": "Fri, 27 Nov 2026 20:59:00 GMT", "date": NOW}, 0),
        ({"retry-after": "Fri, 27 Nov 2026 21:02:00 GMT"}, None),
        ({"ratelimit": '"api";r=0;t=55'}, 55),
        ({"ratelimit": '"api";r=3;t=55'}, None),
        ({"ratelimit": ";;;=", "retry-after": "9" * 30}, 999_999_999),
    ],
)
def test_the_time_to_wait(fields: dict[str, str], expected: float | None) -> None:
    assert retry_after(fields) == expected
