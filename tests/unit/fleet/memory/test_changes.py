"""Which differences of facts can change a decision."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelswap.core.placement.policy import RAM, DevicePool, Facts, Need
from modelswap.core.spec import ModelId
from modelswap.fleet.memory.changes import FINE, NOISE, matter
from modelswap.units import Bytes, Seconds

A, B = ModelId("a"), ModelId("b")
POOL = DevicePool(id=RAM, total=Bytes(1 << 34), reserve=Bytes(1 << 30), foreign=Bytes(1 << 32))
FACTS = Facts(epoch=1, pools=(POOL,), needs={A: Need()}, held={A: {RAM: Bytes(1 << 30)}})


def foreign(by: int) -> Facts:
    return replace(FACTS, epoch=2, pools=(replace(POOL, foreign=Bytes(POOL.foreign + by)),))


def held(by: int) -> Facts:
    return replace(FACTS, epoch=2, held={A: {RAM: Bytes((1 << 30) + by)}})


@pytest.mark.parametrize("by", [NOISE - 1, 1 - NOISE, 0])
def test_noise_changes_nothing(by: int) -> None:
    assert not matter(FACTS, foreign(by), is_waited_for=False)
    assert not matter(FACTS, held(by), is_waited_for=False)


@pytest.mark.parametrize("by", [NOISE, -NOISE])
def test_more_than_noise_counts(by: int) -> None:
    assert matter(FACTS, foreign(by), is_waited_for=False)
    assert matter(FACTS, held(by), is_waited_for=False)


def test_while_a_request_waits_little_counts() -> None:
    """It may wait for the last megabyte."""
    assert matter(FACTS, foreign(-FINE), is_waited_for=True)
    assert matter(FACTS, held(FINE), is_waited_for=True)
    assert not matter(FACTS, foreign(FINE - 1), is_waited_for=True)


@pytest.mark.parametrize(
    "after",
    [
        replace(FACTS, needs={}),
        replace(FACTS, held={}),
        replace(FACTS, held={**FACTS.held, B: {}}),
        replace(FACTS, pools=()),
        replace(FACTS, pools=(replace(POOL, total=Bytes(1)),)),
        replace(FACTS, pools=(replace(POOL, reserve=Bytes(1)),)),
    ],
)
def test_needs_models_and_devices_count(after: Facts) -> None:
    assert matter(FACTS, after, is_waited_for=False)


def test_learned_times_alone_wake_nobody() -> None:
    assert not matter(FACTS, replace(FACTS, reload={A: Seconds(3.0)}), is_waited_for=True)
