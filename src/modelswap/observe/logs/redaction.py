"""Masks credential headers and secret values.

Guarantees: a header is masked when its name says that it may carry a credential. A line is shown only
after every known secret in it is masked.
Does not: mask bodies; they are kept only where captures are switched on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from modelswap.bounded_cache import BoundedCache
from modelswap.config import redact as shown
from modelswap.deferred import regex

Headers = Sequence[tuple[bytes, bytes]]

MASK: Final = "[REDACTED]"
"""Replaces a header's value, as in llama-swap; in texts `config.redact.MASK` does."""

_HIDDEN: Final = regex(
    rb"authorization|cookie|secret|passw|credential|api[-_]?key|apikey|^proxy-"
    rb"|(?:auth|access|security|session|csrf|xsrf|id|refresh|bearer|private|jwt)[-_]token"
    rb"|^(?:x[-_])?token$|^x-amz-security|^x-jwt|^x-forwarded-client-cert$|^x-signature"
    rb"|^sec-websocket-protocol$"  # OpenAI clients put the key there
)
_MOST_NAMES: Final = 2048  # header names in the cache: clients use some dozens


def canonical(name: bytes) -> str:
    """Spell a header name as `X-Api-Key`."""
    return "-".join(part.capitalize() for part in name.decode("latin-1").split("-"))


class HeaderMask:
    """Decides which header values are masked; the decision about each name is cached."""

    def __init__(self, extra: Iterable[str] = ()) -> None:
        self._extra: frozenset[bytes] = frozenset()
        self._known: BoundedCache[bytes, tuple[str, bool]] = BoundedCache(_MOST_NAMES)
        self.configure(extra)

    def configure(self, extra: Iterable[str]) -> None:
        """Apply the configured names; captures that exist already are shown by the new rules."""
        self._extra = frozenset(name.strip().lower().encode() for name in extra)
        self._known.clear()

    def flatten(
        self, headers: Headers, *, without: frozenset[bytes] = frozenset()
    ) -> dict[str, str]:
        """First value of each name, canonical names, credentials masked, `Host` left out."""
        flat: dict[str, str] = {}
        for raw, value in headers:
            name, hidden = self._known.get(raw) or self._judge(raw)
            if name == "Host" or name in flat or raw.lower() in without:
                continue
            flat[name] = MASK if hidden else value.decode("utf-8", "replace")
        return flat

    def _judge(self, raw: bytes) -> tuple[str, bool]:
        lower = raw.lower()
        verdict = canonical(lower), lower in self._extra or _HIDDEN.search(lower) is not None
        self._known[raw] = verdict
        return verdict


def line_redactor(secrets: Iterable[str]) -> Callable[[bytes], bytes] | None:
    """Make a function that masks every secret in a line; `None` without secrets."""
    values = sorted(
        {s.encode() for s in secrets if len(s) >= shown.SHORTEST_KEY}, key=len, reverse=True
    )
    if not values:
        return None
    mask = shown.MASK.encode()

    def redact(line: bytes) -> bytes:
        for value in values:  # the longest first, so that no part of a longer one is left
            if value in line:
                line = line.replace(value, mask)
        return line

    return redact
