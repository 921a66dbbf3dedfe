"""Whether and when a client should send a request again."""

from __future__ import annotations

import pytest

from modelswap.api.errors.error_responses import retry_fields


@pytest.mark.parametrize(
    ("status", "retry_after", "should_retry", "expected"),
    [
        (400, None, None, [("x-should-retry", "false")]),
        (429, 1.2, None, [("Retry-After", "2"), ("x-should-retry", "true")]),
        (429, None, None, []),
        (500, None, None, []),
        (503, 0.1, None, [("Retry-After", "1"), ("x-should-retry", "true")]),
        (503, 5.0, False, [("Retry-After", "5"), ("x-should-retry", "false")]),
        (507, None, None, [("x-should-retry", "false")]),
    ],
)
def test_hints(
    status: int,
    retry_after: float | None,
    *,
    should_retry: bool | None,
    expected: list[tuple[str, str]],
) -> None:
    """A bad request never, a temporary refusal after its time; of failures nothing is known."""
    assert retry_fields(status, retry_after, should_retry=should_retry) == expected
