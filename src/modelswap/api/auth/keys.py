"""Authenticates the keys of a request and gives their identity; no key is kept or shown.

Guarantees: keys are looked up by their SHA-256 digests. That of a wrong key says nothing about a valid
one, so the time of a lookup does not either. A valid key is accepted whatever came from its address.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from modelswap.deferred import dataclass
from modelswap.digest import sha256
from modelswap.errors import ForbiddenError, RateLimitedError, UnauthorizedError
from modelswap.units import Seconds

from .failed_attempts import FailedAttempts
from .identity import Identity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from modelswap.config.plan import ApiKey
    from modelswap.config.schema.schema import KeyScope

_MINUTE: Final = Seconds(60)
"""`rateLimit` counts requests per minute."""


UNAUTHORIZED: Final = "unauthorized: invalid or missing API key"


class RequestTime(NamedTuple):
    """When a request is authenticated, in seconds."""

    now: float
    """Monotonic."""
    wall: float
    """The time of day, for `expires` only."""


@dataclass(slots=True)
class KeyRecord:
    """One key of the configuration, without the key."""

    identity: Identity
    expires: float | None
    """Wall clock."""
    per_minute: int | None
    tokens: float = 0.0
    """Requests left in the bucket."""
    at: float = 0.0
    """When `tokens` was right; 0: no request yet."""

    @property
    def may_change(self) -> bool:
        """Whether the same key may have another result later: it expires or has a rate limit."""
        return self.expires is not None or self.per_minute is not None

    def is_within_rate(self, per_minute: int, now: float) -> bool:
        """Take one from a bucket that holds a minute's worth and refills evenly."""
        gained = (now - self.at) * per_minute / _MINUTE if self.at else per_minute
        self.tokens = min(per_minute, self.tokens + gained)
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


ValidKeys = tuple[KeyRecord, ...]
"""The valid keys of one request, in the order in which they were found."""


class KeyAuthenticator:
    def __init__(self, keys: Sequence[ApiKey], failures: FailedAttempts | None = None) -> None:
        self._failures = failures or FailedAttempts()
        self._records: dict[str, KeyRecord] = {}
        for key in keys:
            digest = _digest_of(key)
            if digest is not None:
                self._records.setdefault(digest, _record(key))
        self.is_open = not keys
        """No keys are configured: every client may do everything."""

    def is_ours(self, key: bytes) -> bool:
        """Tell whether it is one of the keys, also when it has expired."""
        return _digest(key) in self._records

    def authenticate(
        self, keys: Iterable[bytes], scope: KeyScope, *, address: Callable[[], str], at: RequestTime
    ) -> tuple[Identity, ValidKeys]:
        """Check all the keys that one request carries; any valid one is enough.

        The second value is for `authorize`, when an equal request comes; empty: the result stays.

        Raises:
            ReplyError: there is no valid key, or `authorize` raises it.
        """
        records = self._records
        keys = tuple(keys)
        valid = tuple(record for key in keys if (record := records.get(_digest(key))) is not None)
        if valid:
            later = valid if any(one.may_change for one in valid) else ()
            return self.authorize(valid, scope, at), later
        if keys:
            sender = address()
            wait = self._failures.wait(sender, at.now)
            if wait > 0:
                raise RateLimitedError("too many wrong API keys", retry_after=wait)
            self._failures.on_failure(sender, at.now)
        raise UnauthorizedError(UNAUTHORIZED)

    def authorize(self, keys: ValidKeys, scope: KeyScope, at: RequestTime) -> Identity:
        """Choose among valid keys: of those with the scope, preferably one without a list of models.

        Raises:
            ReplyError: all have expired, none has the scope, or too many requests came with the key.
        """
        current = [one for one in keys if one.expires is None or at.wall < one.expires]
        if not current:
            raise UnauthorizedError(UNAUTHORIZED)
        fit = [one for one in current if one.identity.may(scope)]
        if not fit:
            raise ForbiddenError(f"this key lacks the scope {scope.value!r}")
        chosen = next((one for one in fit if not one.identity.models), fit[0])
        limit = chosen.per_minute
        if limit is not None and not chosen.is_within_rate(limit, at.now):
            raise RateLimitedError("too many requests for this key", retry_after=_MINUTE / limit)
        return chosen.identity


def _digest(key: bytes) -> str:
    return sha256(key).hexdigest()


def _digest_of(key: ApiKey) -> str | None:
    if key.key is not None:
        return _digest(key.key.reveal().encode("utf-8", "surrogateescape"))
    if key.key_hash is not None:
        return key.key_hash.lower().removeprefix("sha256:")
    return None


def _record(key: ApiKey) -> KeyRecord:
    identity = Identity(
        key.name,
        frozenset(key.scopes),
        tuple(key.models),
        background=key.background,
        no_swap=key.no_swap,
        is_named=key.is_named,
    )
    expires = None if key.expires is None else _timestamp(key.expires)
    return KeyRecord(identity, expires, key.rate_limit)


def _timestamp(text: str) -> float:
    time = datetime.fromisoformat(text)
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
