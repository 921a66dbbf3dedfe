"""Which responses a browser could run, or let change everything of our origin.

Guarantees: a response counts as active unless its one `Content-Type` is known
to be inert: browsers guess the type of what has none, and of several types in
one header they take the last.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_INERT: Final = re.compile(
    rb"""(?:
        text/(?:plain | event-stream | css | csv | javascript)
      | application/(?:json | [a-z0-9.-]+\+json | x-ndjson | jsonl | json-seq | octet-stream
                      | javascript | x-javascript | pdf | wasm | zip | gzip)
      | (?:audio | video | font)/[a-z0-9.-]+
      | image/(?!svg)[a-z0-9.-]+
    )[ \t]*(?:;[^,]*)?""",
    re.IGNORECASE | re.VERBOSE,
)
ORIGIN_WIDE: Final = (
    b"alt-svc",
    b"clear-site-data",
    b"nel",
    b"report-to",
    b"reporting-endpoints",
    b"service-worker-allowed",
    b"strict-transport-security",
)
"""Header fields that a browser applies to the whole origin, not to the response."""


def is_active(values: Mapping[bytes, Sequence[bytes]], *, has_body: bool) -> bool:
    """Tell whether a response with these fields (lower-case names) needs the guard of pages."""
    if any(name in values for name in ORIGIN_WIDE):
        return True
    types = values.get(b"content-type", ())
    return has_body and (len(types) != 1 or _INERT.fullmatch(types[0].strip(b" \t")) is None)
