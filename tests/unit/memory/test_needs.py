"""Declared, learned, predicted and measured figures, joined."""

from __future__ import annotations

from typing import Any

import pytest

from modelswap.core.placement.memory.declared import ANY_DEVICE, ANY_GPU
from modelswap.core.placement.policy import RAM, DeviceId, Need, NeedSource
from modelswap.memory.estimate import Estimate, Part
from modelswap.memory.learned import LearnedNeed
from modelswap.memory.needs import need_of
from modelswap.units import Bytes

GPU0, GPU1 = DeviceId("gpu0"), DeviceId("gpu1")
GPUS = (GPU0, GPU1)
PREDICTED = Estimate(
    parts=(Part(name="weights", bytes=Bytes(90), is_on_gpu=True), Part(name="program", bytes=Bytes(10)))
)  # fmt: skip
NAMING = Estimate(parts=PREDICTED.parts, devices=GPUS)
ON_GPU0 = Estimate(parts=PREDICTED.parts, devices=(GPU0,))
LEARNED = LearnedNeed(runs=({"ram": 20, "gpu0": 80},))
ONLY_RAM = LearnedNeed(runs=({"ram": 20},))
D, L, P = NeedSource.DECLARED, NeedSource.LEARNED, NeedSource.PREDICTED


def need(source: NeedSource, movable: int = 0, **fixed: int) -> Need:
    sizes = {DeviceId(device): Bytes(size) for device, size in fixed.items()}
    return Need(fixed=sizes, movable=Bytes(movable), source=source)


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({}, Need()),
        ({"predicted": PREDICTED}, need(P, ram=100)),
        ({"predicted": NAMING}, need(P, ram=100)),
        ({"predicted": PREDICTED, "learned": ONLY_RAM}, need(L, ram=20)),
        ({"declared": {ANY_DEVICE: Bytes(5)}, "learned": ONLY_RAM}, need(D, ram=5)),
        ({"declared": {ANY_DEVICE: Bytes(5), RAM: Bytes(1)}}, need(D, ram=6)),
        ({"declared": {GPU0: Bytes(5)}, "predicted": PREDICTED}, need(D, ram=100, gpu0=5)),
        ({"declared": {}, "predicted": PREDICTED}, need(P, ram=100)),
    ],
)
def test_a_machine_without_gpus(known: dict[str, Any], expected: Need) -> None:
    """All is in RAM; a GPU that is declared all the same is kept, so that the policy can say it is not there."""
    assert need_of(**known) == expected


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({}, Need()),
        ({"learned": ONLY_RAM}, Need()),
        ({"predicted": PREDICTED}, need(P, 90, ram=10)),
        ({"predicted": NAMING}, need(P, ram=10, gpu0=45, gpu1=45)),
        ({"predicted": PREDICTED, "learned": LEARNED}, need(L, 80, ram=20)),
        ({"predicted": NAMING, "learned": LEARNED}, need(L, ram=20, gpu0=80, gpu1=0)),
        ({"learned": LEARNED, "predicted": ON_GPU0}, need(L, ram=20, gpu0=80)),
        ({"predicted": PREDICTED, "learned": ONLY_RAM}, need(P, 90, ram=20)),
        ({"declared": {ANY_DEVICE: Bytes(50)}}, need(D, 50)),
        ({"declared": {ANY_DEVICE: Bytes(50)}, "learned": LEARNED}, need(D, 50, ram=20)),
        ({"declared": {ANY_DEVICE: Bytes(50)}, "predicted": ON_GPU0}, need(D, ram=10, gpu0=50)),
        ({"declared": {RAM: Bytes(5)}, "predicted": PREDICTED}, need(D, 90, ram=5)),
        ({"declared": {RAM: Bytes(5)}}, need(D, ram=5)),
        ({"declared": {GPU1: Bytes(7), ANY_GPU: Bytes(3)}}, need(D, 3, gpu1=7)),
        ({"declared": {ANY_GPU: Bytes(0)}, "predicted": NAMING}, need(D, ram=10)),
    ],
)
def test_a_machine_with_gpus(known: dict[str, Any], expected: Need) -> None:
    """RAM and GPUs each come from the most trusted source that says something of them."""
    assert need_of(gpus=GPUS, **known) == expected


def test_what_is_measured_now_is_the_least() -> None:
    """A model that has grown needs what it holds; what is declared stays as it is."""
    now = {RAM: Bytes(25), GPU1: Bytes(95)}
    assert need_of(predicted=PREDICTED, gpus=GPUS, measured=now) == need(P, 95, ram=25)
    assert need_of(learned=LEARNED, gpus=GPUS, predicted=ON_GPU0, measured=now) == need(
        L, ram=25, gpu0=80
    )
    assert need_of(declared={ANY_DEVICE: Bytes(5)}, gpus=GPUS, measured=now) == need(D, 5)
    assert need_of(learned=ONLY_RAM, measured={RAM: Bytes(1)}) == need(L, ram=20)
