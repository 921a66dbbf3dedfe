"""Counts wrong keys by address and throttles guessing.

Memory: bounded; the address that was seen longest ago is forgotten first.
"""

from __future__ import annotations

from collections import OrderedDict
from ipaddress import IPv6Network
from typing import Final

from modelswap.units import Seconds


class FailedAttempts:
    """After `FREE` failures each further one is throttled for twice as long, up to `LONGEST`."""

    FREE: Final = 10
    """Failures: a program with an old key stops and tells its user before that."""
    LONGEST: Final = Seconds(5)
    """With it, guessing from one address makes 17,000 attempts a day."""
    RESET_AFTER: Final = Seconds(600)
    """Without a failure for so long, the count begins anew."""
    ADDRESSES: Final = 4096
    """Addresses that are remembered: about half a MiB."""

    def __init__(self) -> None:
        self._seen: OrderedDict[str, tuple[int, float]] = OrderedDict()
        """By network: the count, and the time until which it is throttled."""

    def wait(self, address: str, now: float) -> float:
        """Return for how many seconds wrong keys from an address are throttled."""
        return max(0.0, self._seen.get(_network_of(address), (0, now))[1] - now)

    def on_failure(self, address: str, now: float) -> None:
        network = _network_of(address)
        count, until = self._seen.pop(network, (0, now))
        if now - until > self.RESET_AFTER:
            count = 0
        count += 1
        over = min(count - self.FREE, 16)
        pause = min(self.LONGEST, 2.0 ** (over - 1)) if over > 0 else 0.0
        self._seen[network] = (count, now + pause)
        if len(self._seen) > self.ADDRESSES:
            self._seen.popitem(last=False)


def _network_of(address: str) -> str:
    """Return the addresses that one user has: of IPv6 it is a whole /64."""
    if ":" not in address or "." in address:
        return address
    try:
        return str(IPv6Network((address.partition("%")[0], 64), strict=False))
    except ValueError:
        return address
