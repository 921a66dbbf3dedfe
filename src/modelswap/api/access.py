"""Who asks: the key of a request → an identity with its rights.

Law: keys are compared by their SHA-256 digests in a table. The digest of a
wrong key says nothing about a right one, so neither the look-up's time nor the
table's layout gives anything away. Known headers are remembered, wrong ones
never. One `Access` belongs to one configuration and dies with it. It refuses to
keep or show a key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from ipaddress import IPv6Network
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelswap.config.plan import ApiKey

UNAUTHORIZED: Final = "unauthorized: invalid or missing API key"
EVERY_SCOPE: Final = frozenset({"inference", "read", "admin"})
_REMEMBERED: Final = 4096
_MINUTE: Final = 60.0


@dataclass(frozen=True, slots=True)
class Identity:
    """One caller, as far as a key tells."""

    name: str
    """The key's name; empty where no keys are configured."""
    scopes: frozenset[str] = EVERY_SCOPE
    models: tuple[str, ...] = ()
    """Shell patterns of the models it may use; empty: all."""
    background: bool = False
    no_swap: bool = False
    """Its requests are refused where another model would have to leave for them."""
    is_named: bool = True
    """The name was given by the user, so it says who asks; one made up says only which key."""

    def may(self, scope: str) -> bool:
        """Tell whether a scope is granted; `admin` holds the others, `read` does not hold inference."""
        return scope in self.scopes or "admin" in self.scopes

    def may_use(self, *names: str) -> bool:
        """Tell whether a model may be used, known by any of these names (id, alias as asked for)."""
        return not self.models or any(
            fnmatchcase(name, pattern) for name in names for pattern in self.models
        )


ANYONE: Final = Identity("")
"""The caller where no keys are configured."""


@dataclass(frozen=True, slots=True)
class Denied:
    """No valid key: 401."""

    reason: str
    """For the log: `missing`, `wrong`, `expired`."""


@dataclass(frozen=True, slots=True)
class SlowDown:
    """Too many wrong keys from there, or too many requests with this key: 429."""

    reason: str
    retry_after: float


Verdict = Identity | Denied | SlowDown


@dataclass(slots=True)
class _Record:
    identity: Identity
    expires: float | None
    """Wall clock."""
    per_minute: int | None
    tokens: float = 0.0
    at: float = field(default=0.0)

    def is_within_rate(self, now: float) -> bool:
        """Take one from a bucket that holds a minute's worth and refills evenly."""
        if self.per_minute is None:
            return True
        gained = (now - self.at) * self.per_minute / _MINUTE if self.at else float(self.per_minute)
        self.tokens = min(float(self.per_minute), self.tokens + gained)
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


def key_of(authorization: bytes | None, x_api_key: bytes | None) -> bytes | None:
    """Find the key of a request: Basic password, else Bearer, else `x-api-key`."""
    if authorization:
        scheme, _, rest = authorization.partition(b" ")
        match scheme.lower():
            case b"basic":
                key = _password(rest)
            case b"bearer":
                key = rest
            case _:
                key = b""
        if key:
            return key
    return x_api_key or None


def _password(encoded: bytes) -> bytes:
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True)
    except binascii.Error:
        return b""
    return decoded.partition(b":")[2]


def _digest(key: bytes) -> str:
    return hashlib.sha256(key).hexdigest()


def _timestamp(text: str) -> float:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


class Failures:
    """Wrong keys by address, so that guessing becomes slow. Bounded; survives a reload.

    After `FREE` failures each further one closes the door for twice as long, up to `LONGEST`,
    which is short: behind one address there may be others. A right key ends the count. What is forgotten first is what was seen longest ago.
    """

    FREE: Final = 10
    LONGEST: Final = 5.0
    FORGET: Final = 600.0
    ADDRESSES: Final = 4096

    def __init__(self) -> None:
        self._seen: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def wait(self, address: str, now: float) -> float:
        """Return for how many seconds an address is not listened to."""
        address = _household(address)
        if address not in self._seen:
            return 0.0
        return max(0.0, self._seen[address][1] - now)

    def on_failure(self, address: str, now: float) -> None:
        address = _household(address)
        count, until = self._seen.pop(address, (0, now))
        if now - until > self.FORGET:
            count = 0
        count += 1
        over = min(count - self.FREE, 16)
        pause = min(self.LONGEST, 2.0 ** (over - 1)) if over > 0 else 0.0
        self._seen[address] = (count, now + pause)
        if len(self._seen) > self.ADDRESSES:
            self._seen.popitem(last=False)

    def on_success(self, address: str) -> None:
        self._seen.pop(_household(address), None)


class Access:
    """The keys of one configuration."""

    def __init__(self, keys: Sequence[ApiKey], failures: Failures | None = None) -> None:
        self._failures = failures or Failures()
        self._records: dict[str, _Record] = {}
        for key in keys:
            digest = _digest_of(key)
            if digest is not None:
                self._records.setdefault(digest, _record(key))
        self.is_open = not keys
        """No keys are configured: everyone may do everything."""
        self._known: dict[tuple[bytes | None, bytes | None], _Record] = {}

    def check(
        self,
        authorization: bytes | None,
        x_api_key: bytes | None,
        *,
        address: str,
        now: float,
        wall: float,
    ) -> Verdict:
        """Judge one request's headers.

        `now` is monotonic; `wall` is the time of day, for `expires` only.
        """
        if self.is_open:
            return ANYONE
        record = self._known.get((authorization, x_api_key))
        if record is None:
            found = self._look_up(authorization, x_api_key, address, now)
            if not isinstance(found, _Record):
                return found
            record = found
        if record.expires is not None and wall >= record.expires:
            return Denied("expired")
        if record.per_minute is not None and not record.is_within_rate(now):
            return SlowDown("too many requests for this key", _MINUTE / record.per_minute)
        return record.identity

    def _look_up(
        self, authorization: bytes | None, x_api_key: bytes | None, address: str, now: float
    ) -> _Record | Denied | SlowDown:
        wait = self._failures.wait(address, now)
        if wait > 0:
            return SlowDown("too many wrong API keys", wait)
        key = key_of(authorization, x_api_key)
        if key is None:
            return Denied("missing")
        record = self._records.get(_digest(key))
        if record is None:
            self._failures.on_failure(address, now)
            return Denied("wrong")
        self._failures.on_success(address)
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[authorization, x_api_key] = record
        return record


def _household(address: str) -> str:
    """Return what one person has of the addresses: of IPv6 it is a whole /64."""
    if ":" not in address or "." in address:
        return address
    try:
        return str(IPv6Network((address.partition("%")[0], 64), strict=False))
    except ValueError:
        return address


def _digest_of(key: ApiKey) -> str | None:
    if key.key is not None:
        return _digest(key.key.reveal().encode("utf-8", "surrogateescape"))
    if key.key_hash is not None:
        return key.key_hash.lower().removeprefix("sha256:")
    return None


def _record(key: ApiKey) -> _Record:
    identity = Identity(
        key.name,
        frozenset(key.scopes),
        tuple(key.models),
        background=key.background,
        no_swap=key.no_swap,
        is_named=key.is_named,
    )
    expires = None if key.expires is None else _timestamp(key.expires)
    return _Record(identity, expires, key.rate_limit)
