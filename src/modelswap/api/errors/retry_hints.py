"""Tells clients whether and when to send a request again."""

from __future__ import annotations

import math
from typing import Final

_TEMPORARY: Final = frozenset({408, 425, 429})
"""Client errors that a later request may not meet again: a slow upload, too many requests."""
_LASTING: Final = frozenset({501, 505, 507})
"""Server errors that it meets again: not implemented here, no room for the upload."""


def retry_hint(status: int, retry_after: float | None) -> bool | None:
    """Say whether the same request may succeed later, by its status and `Retry-After`.

    `None`: nothing is known (a bug, an upstream that failed), so clients follow their own rules.
    """
    is_client_error = 400 <= status < 500  # noqa: PLR2004 -- the class of client errors
    if status in _LASTING or (is_client_error and status not in _TEMPORARY):
        return False
    return None if retry_after is None else True


def retry_fields(
    status: int, retry_after: float | None, *, should_retry: bool | None = None
) -> list[tuple[str, str]]:
    """Write the headers that tell a client whether and when to try again.

    `x-should-retry` goes before every rule of their own in the SDKs of OpenAI and Anthropic.
    """
    hint = retry_hint(status, retry_after) if should_retry is None else should_retry
    fields: list[tuple[str, str]] = []
    if retry_after is not None:
        fields.append(("Retry-After", str(max(1, math.ceil(retry_after)))))
    if hint is not None:
        fields.append(("x-should-retry", "true" if hint else "false"))
    return fields
