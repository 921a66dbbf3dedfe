"""Tells which responses a browser could run as a page, or which change our whole origin.

Browsers guess the type of what has none, and of several types in one header they take the last.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from modelswap.deferred import regex

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_INERT: Final = regex(
    rb"""(?:
        text/(?:plain | event-stream | css | csv | javascript)
      | application/(?:json | [a-z0-9.-]+\+json | x-ndjson | jsonl | json-seq | octet-stream
                      | javascript | x-javascript | wasm | zip | gzip)
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
_REQUESTING: Final = (
    b"content-security-policy",
    b"content-security-policy-report-only",
    b"link",
    b"location",
    b"refresh",
    b"speculation-rules",
)
"""Header fields by which a response of any type, even an empty one, makes a browser send requests:
preloads, reports, the next page. Without a sandbox these come from our origin."""
_ORIGIN_WIDE_LINE: Final = regex(rb"(?im)^(?:%b):[^\r\n]*\r\n" % b"|".join(ORIGIN_WIDE))
_LOCATION: Final = regex(rb"(?im)^location:[ \t]*([^\r\n]*?)[ \t]*\r\n")
_ASKING: Final = frozenset((*ORIGIN_WIDE, *_REQUESTING))


def is_active(values: Mapping[bytes, Sequence[bytes]], *, has_body: bool) -> bool:
    """Whether a response with these fields (lower-case names) needs the guard of pages.

    A 304 always does: its fields may replace those of a page in the browser's cache.
    """
    if not _ASKING.isdisjoint(values):
        return True
    types = values.get(b"content-type", ())
    return has_body and (len(types) != 1 or _INERT.fullmatch(types[0].strip(b" \t")) is None)


def without_origin_wide(block: bytes) -> bytes:
    return _ORIGIN_WIDE_LINE.sub(b"", block)


def without_redirects(block: bytes, may_redirect: Callable[[bytes], bool]) -> bytes:
    return _LOCATION.sub(lambda line: line[0] if may_redirect(line[1]) else b"", block)
