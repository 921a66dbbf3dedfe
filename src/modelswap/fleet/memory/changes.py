"""Whether facts differ so much that a decision could differ.

Each new epoch costs every ready model one more decision, so noise must not make one. Facts are compared
with those that the decisions know, not with the last reading: slow changes add up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from modelswap.units import Bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modelswap.core.placement.policy import DeviceId, DevicePool, Facts

NOISE: Final = Bytes(64 << 20)
"""Other programs come and go, and a driver's context is as small (as `launch.memory_release.SLACK`)."""
FINE: Final = Bytes(1 << 20)
"""While a request waits for room: it must get it as soon as there is enough, and there is no fast path
to keep then."""


def matter(before: Facts, after: Facts, *, is_waited_for: bool) -> bool:
    """Say whether the decisions have to know *after*; learned times alone do not matter."""
    step = FINE if is_waited_for else NOISE
    if after.needs != before.needs or after.held.keys() != before.held.keys():
        return True
    if len(after.pools) != len(before.pools):
        return True
    pairs = zip(before.pools, after.pools, strict=True)
    if any(_differs(one, other, step) for one, other in pairs):
        return True
    return any(_moved(before.held[model], after.held[model], step) for model in after.held)


def _differs(one: DevicePool, other: DevicePool, step: Bytes) -> bool:
    fixed = (one.id, one.total, one.reserve) != (other.id, other.total, other.reserve)
    return fixed or abs(one.foreign - other.foreign) >= step


def _moved(one: Mapping[DeviceId, Bytes], other: Mapping[DeviceId, Bytes], step: Bytes) -> bool:
    return any(abs(one.get(device, 0) - other.get(device, 0)) >= step for device in {*one, *other})
