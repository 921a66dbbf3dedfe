"""What is ours, what is foreign, and what each model counts for."""

from __future__ import annotations

from modelswap.config.plan import DeviceSettings
from modelswap.core.placement.memory.declared import GPU_RESERVE
from modelswap.core.placement.policy import ANYWHERE, RAM, DeviceId, Need, NeedSource, Placement
from modelswap.devices.memory import DeviceMemory, Holder
from modelswap.fleet.memory import accounting
from modelswap.units import Bytes

GPU, OTHER = DeviceId("gpu0"), DeviceId("gpu1")


def sizes(**amounts: int) -> dict[DeviceId, Bytes]:
    return {DeviceId(name): Bytes(size) for name, size in amounts.items()}


def need(movable: int = 0, source: NeedSource = NeedSource.DECLARED, **fixed: int) -> Need:
    return Need(fixed=sizes(**fixed), movable=Bytes(movable), source=source)


def test_what_is_not_ours_is_foreign() -> None:
    """Of 100 bytes 30 are free and 50 are ours: other programs hold 20, and those are named."""
    holders = (Holder(7, "ours", 50), Holder(8, "game", 15), Holder(9, "browser", 5))
    device = DeviceMemory("gpu0", "a card", 100, 30, holders)
    limits = {GPU: DeviceSettings(reserve=Bytes(10))}
    (pool,) = accounting.pools((device,), limits, sizes(gpu0=50), {7})
    assert (pool.id, pool.total, pool.reserve, pool.foreign, pool.room) == (GPU, 100, 10, 20, 70)
    assert pool.holders == (("game", 15), ("browser", 5))


def test_only_the_largest_holders_are_named() -> None:
    holders = tuple(Holder(n, f"p{n}", 50 - n) for n in range(1, 9))
    (pool,) = accounting.pools((DeviceMemory("gpu0", "", 900, 0, holders),), {}, {}, ())
    assert [name for name, _ in pool.holders] == ["p1", "p2", "p3"]


def test_a_configured_capacity_leaves_the_rest_to_others() -> None:
    """With 60 of 100 for the models, others use 40 freely; what they use beyond shrinks the 60."""
    limits = {GPU: DeviceSettings(capacity=Bytes(60))}

    def foreign(free: int) -> int:
        (pool,) = accounting.pools((DeviceMemory("gpu0", "", 100, free),), limits, {}, ())
        assert pool.total == 60
        return pool.foreign

    assert foreign(70) == 0
    assert foreign(60) == 0
    assert foreign(45) == 15


def test_nothing_is_negative() -> None:
    """A reading in which ours is more than what is used leaves nothing to others."""
    (pool,) = accounting.pools((DeviceMemory("ram", "", 100, 90),), {}, sizes(ram=50), ())
    assert pool.foreign == 0
    assert pool.holders == ()


def test_a_device_that_only_the_configuration_knows() -> None:
    """Its capacity counts as its size, and nobody else uses it."""
    size = Bytes(1 << 30)
    (pool,) = accounting.pools((), {OTHER: DeviceSettings(capacity=size)}, {}, ())
    assert (pool.id, pool.total, pool.foreign, pool.reserve) == (OTHER, size, 0, GPU_RESERVE)
    assert accounting.pools((), {OTHER: DeviceSettings(reserve=Bytes(5))}, {}, ()) == ()


def test_the_default_reserve_lies_in_the_rest_first() -> None:
    """A capacity that leaves more than the reserve needs no further one; one that leaves less, the difference."""

    def reserve(capacity: int | None, written: int | None = None) -> int:
        one = DeviceSettings(
            capacity=None if capacity is None else Bytes(capacity),
            reserve=None if written is None else Bytes(written),
        )
        device = DeviceMemory("gpu0", "", 8 << 30, 8 << 30)
        (pool,) = accounting.pools((device,), {GPU: one}, {}, ())
        return pool.reserve

    assert reserve(None) == GPU_RESERVE
    assert reserve(4 << 30) == 0
    assert reserve((8 << 30) - 100) == GPU_RESERVE - 100
    assert reserve(4 << 30, written=7) == 7
    assert reserve(9 << 30) == GPU_RESERVE


def test_amounts_are_added_and_compared_by_device() -> None:
    one, other = sizes(ram=1, gpu0=5), sizes(gpu0=3, gpu1=4)
    assert accounting.added((one, other)) == sizes(ram=1, gpu0=8, gpu1=4)
    assert accounting.larger(one, other) == sizes(ram=1, gpu0=5, gpu1=4)


def test_a_movable_need_lies_where_it_was_measured() -> None:
    """In the shares that were measured, not in those that were promised."""
    placement = Placement(devices=(GPU, OTHER), promised=((GPU, Bytes(10)), (OTHER, Bytes(10))))
    measured = sizes(ram=9, gpu0=30, gpu1=10)
    assert accounting.promised(need(80, ram=2), placement, measured) == sizes(
        ram=2, gpu0=60, gpu1=20
    )


def test_a_movable_need_lies_where_it_was_put() -> None:
    """Before it is measured: as the policy promised, else on the devices of its placement alike."""
    promised = ((RAM, Bytes(2)), (GPU, Bytes(30)))
    assert accounting.promised(need(40, ram=2), Placement(promised=promised), {}) == sizes(
        ram=2, gpu0=40
    )
    assert accounting.promised(need(40), Placement(devices=(GPU, OTHER)), {}) == sizes(
        gpu0=20, gpu1=20
    )
    assert accounting.promised(need(40, ram=2), ANYWHERE, {}) == sizes(ram=2)


def test_an_unknown_need_sets_aside_what_was_promised() -> None:
    placement = Placement(promised=((RAM, Bytes(7)),))
    assert accounting.promised(need(9, NeedSource.UNKNOWN), placement, {}) == sizes(ram=7)


def test_a_movable_need_without_a_gpu() -> None:
    """It was promised in `ram`, beside what is settled there, and counts there."""
    placement = Placement(promised=((RAM, Bytes(42)),))
    assert accounting.promised(need(40, ram=2), placement, sizes(ram=9)) == sizes(ram=42)
