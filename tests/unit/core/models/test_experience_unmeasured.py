"""How long a reload takes that was never measured follows from what is known of the model's size."""

from __future__ import annotations

from modelswap.core.models.experience import START, USUAL_SIZE, reload_time
from modelswap.core.placement.policy import RAM, DeviceId, Facts, Need, NeedSource
from modelswap.core.spec import ModelId
from modelswap.units import Bytes, Seconds

A = ModelId("a")
GIB = 1 << 30
NEED = Need(fixed={RAM: Bytes(GIB)}, movable=Bytes(6 * GIB), source=NeedSource.PREDICTED)


def test_a_learned_time_counts() -> None:
    """Whatever the size would say."""
    assert reload_time(A, Facts(reload={A: Seconds(7.5)}, needs={A: NEED})) == 7.5


def test_a_running_model_has_the_size_that_it_holds() -> None:
    """Not what it was said to need."""
    held = {A: {RAM: Bytes(GIB), DeviceId("gpu0"): Bytes(3 * GIB)}}
    assert reload_time(A, Facts(held=held, needs={A: NEED})) == START + 4


def test_a_model_that_does_not_run_has_the_size_that_it_needs() -> None:
    """On settled devices and on any other."""
    assert reload_time(A, Facts(needs={A: NEED})) == START + 7


def test_a_model_of_unknown_need_has_a_usual_size() -> None:
    """The figures of such a need mean nothing; nor does a running model say more that was not measured."""
    usual = START + USUAL_SIZE / GIB
    assert reload_time(A, Facts()) == usual
    assert reload_time(A, Facts(held={A: {}}, needs={A: Need(movable=Bytes(GIB))})) == usual
