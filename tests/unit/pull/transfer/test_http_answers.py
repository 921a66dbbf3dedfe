"""What a server says of the time to wait."""

from __future__ import annotations

import httpx2
import pytest

from modelswap.pull.failures import PullError, TransientError
from modelswap.pull.transfer.http_answers import host_of, retry_after, translated

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
        ({"retry-after": "Fri, 27 Nov 99999999999999999999 21:02:00 -2359", "date": NOW}, None),
        ({"ratelimit": '"api";r=0;t=55'}, 55),
        ({"ratelimit": '"api";r=3;t=55'}, None),
        ({"ratelimit": ";;;=", "retry-after": "9" * 30}, 999_999_999),
    ],
)
def test_the_time_to_wait(fields: dict[str, str], expected: float | None) -> None:
    assert retry_after(fields) == expected


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("https://me:pw@hub:8080/path?x=1", "hub:8080"),
        ("http://[::1]:1/", "[::1]:1"),
        ("hub", ""),
        ("ftp://hub", ""),
        ("https://", ""),
        ("https://hub:0", ""),
        ("https://hub:99999", ""),
        ("http://[::1", ""),
    ],
)
def test_the_host_of_an_address(address: str, host: str) -> None:
    assert host_of(address) == host


def test_what_cannot_be_read_is_no_defect() -> None:
    """Bytes that are not compressed as the answer says, and names that no host can have."""
    for problem in (httpx2.DecodingError("bad"), UnicodeError("label empty or too long")):
        with pytest.raises(PullError, match="host") as caught, translated("host"):
            raise problem
        assert not isinstance(caught.value, TransientError)
