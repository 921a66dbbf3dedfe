"""Who asks: the keys of a request → an identity with its rights.

Guarantees: keys are compared by their SHA-256 digests in a table. The digest of a wrong key says
nothing about a right one, so neither the look-up's time nor the table's layout gives anything away.
A right key enters at once, whatever came from its address before. One `KeyAuthenticator` belongs to one
configuration and dies with it.
Does not: keep or show a key.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from ipaddress import IPv6Network
from typing import TYPE_CHECKING, Final, NamedTuple

from modelswap.config.schema.schema import SCOPES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from modelswap.config.plan import ApiKey

UNAUTHORIZED: Final = "unauthorized: invalid or missing API key"
EVERY_SCOPE: Final = frozenset(SCOPES)
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
    """A wrong key after too many from there, or too many requests with this key: 429."""

    reason: str
    retry_after: float


@dataclass(frozen=True, slots=True)
class Lacks:
    """A valid key that does not grant this scope: 403."""

    scope: str


Verdict = Identity | Denied | SlowDown | Lacks


class Moment(NamedTuple):
    """When a request is judged, in seconds."""

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
    at: float = field(default=0.0)

    @property
    def may_change(self) -> bool:
        """Whether the same key may be judged otherwise later: it has an end or a rate."""
        return self.expires is not None or self.per_minute is not None

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


Held = tuple[KeyRecord, ...]
"""The right keys of one request, in the order in which they were found."""


def _digest(key: bytes) -> str:
    return hashlib.sha256(key).hexdigest()


def _timestamp(text: str) -> float:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


class FailedAttempts:
    """Wrong keys by address, so that guessing becomes slow. Bounded; survives a reload.

    After `FREE` failures each further one gets the answer "slow down" for twice as long, up to
    `LONGEST`. Right keys are not asked about: behind one address there may be many clients. The
    count ends after a time without a failure. What is forgotten first is what was seen longest ago.
    """

    FREE: Final = 10
    LONGEST: Final = 5.0
    """Seconds."""
    FORGET: Final = 600.0
    """Seconds without a failure after which the count begins anew."""
    ADDRESSES: Final = 4096

    def __init__(self) -> None:
        self._seen: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def wait(self, address: str, now: float) -> float:
        """Return for how many seconds wrong keys from an address are told to slow down."""
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


class KeyAuthenticator:
    """The keys of one configuration."""

    def __init__(self, keys: Sequence[ApiKey], failures: FailedAttempts | None = None) -> None:
        self._failures = failures or FailedAttempts()
        self._records: dict[str, KeyRecord] = {}
        for key in keys:
            digest = _digest_of(key)
            if digest is not None:
                self._records.setdefault(digest, _record(key))
        self.is_open = not keys
        """No keys are configured: everyone may do everything."""

    def is_ours(self, key: bytes) -> bool:
        """Tell whether it is one of the keys, also when it has expired."""
        return _digest(key) in self._records

    def check(
        self, keys: Iterable[bytes], scope: str, *, address: Callable[[], str], moment: Moment
    ) -> tuple[Verdict, Held]:
        """Judge all the keys that one request carries; any right one lets it in.

        The second value is for `judge`, when an equal request comes; empty: the verdict stays.
        """
        if self.is_open:
            return ANYONE, ()
        records = self._records
        keys = tuple(keys)
        held = tuple(record for key in keys if (record := records.get(_digest(key))) is not None)
        if held:
            later = held if any(one.may_change for one in held) else ()
            return self.judge(held, scope, moment), later
        if not keys:
            return Denied("missing"), ()
        return self._refuse(address(), moment.now), ()

    def judge(self, held: Held, scope: str, moment: Moment) -> Verdict:
        """Choose among right keys: of those with the scope the first without a list of models.

        Without such a one it is the first that has the scope.
        """
        valid = [one for one in held if one.expires is None or moment.wall < one.expires]
        if not valid:
            return Denied("expired")
        fit = [one for one in valid if one.identity.may(scope)]
        if not fit:
            return Lacks(scope)
        chosen = next((one for one in fit if not one.identity.models), fit[0])
        if chosen.per_minute is not None and not chosen.is_within_rate(moment.now):
            return SlowDown("too many requests for this key", _MINUTE / chosen.per_minute)
        return chosen.identity

    def _refuse(self, address: str, now: float) -> Denied | SlowDown:
        wait = self._failures.wait(address, now)
        if wait > 0:
            return SlowDown("too many wrong API keys", wait)
        self._failures.on_failure(address, now)
        return Denied("wrong")


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
