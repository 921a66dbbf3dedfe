"""The need of each model, out of what it declares, what was learned of it, and what is predicted."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from modelswap.core.placement.policy import RAM, UNKNOWN_NEED, DeviceId, DevicePool, NeedSource
from modelswap.core.spec import ModelId
from modelswap.fleet.memory.learning.model_needs import ModelNeeds
from modelswap.memory.estimate import Estimate, Part
from modelswap.memory.need_store import NeedStore
from modelswap.units import Bytes, Seconds
from support.config import load_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from modelswap.config.plan import Model, Plan

A, B, GONE = ModelId("a"), ModelId("b"), ModelId("gone")
GPU = DeviceId("gpu0")
MIB = 1 << 20
POOLS = (
    DevicePool(id=RAM, total=Bytes(1000 * MIB), reserve=Bytes(100 * MIB)),
    DevicePool(id=GPU, total=Bytes(800 * MIB), reserve=Bytes(50 * MIB)),
)


def plan(a: str = "", b: str = "") -> Plan:
    loaded = load_text(f"models: {{a: {{cmd: 'x 1'{a}}}, b: {{cmd: 'x 2'{b}}}}}")
    assert loaded.plan is not None, loaded.problems
    return loaded.plan


def estimate(gpu: int, ram: int, *, is_fitted: bool = False) -> Estimate:
    parts = (
        Part(name="weights", bytes=Bytes(gpu * MIB), is_on_gpu=True),
        Part(name="program", bytes=Bytes(ram * MIB)),
    )
    return Estimate(parts=parts, is_fitted=is_fitted)


class Predictor:
    """Says the same of every model, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[ModelId, Mapping[DeviceId, Bytes]]] = []

    def __call__(self, model: Model, gpus: Mapping[DeviceId, Bytes]) -> Estimate | None:
        self.asked.append((model.id, gpus))
        return estimate(300, 20)


def needs_of(found: Plan, tmp_path: Path) -> ModelNeeds:
    needs = ModelNeeds(found, NeedStore(tmp_path / "needs.db", print), Predictor())
    needs.on_pools(POOLS)
    return needs


def sizes(needs: ModelNeeds, model: ModelId = A) -> tuple[NeedSource, dict[DeviceId, int], int]:
    """Source, fixed and movable parts, in MiB."""
    need = needs.of(model)
    fixed = {device: size // MIB for device, size in need.fixed.items()}
    return need.source, fixed, need.movable // MIB


def mib(**amounts: int) -> dict[DeviceId, Bytes]:
    return {DeviceId(name): Bytes(size * MIB) for name, size in amounts.items()}


def test_from_unknown_to_learned(tmp_path: Path) -> None:
    """Predicted before the first run, then what was measured."""
    needs = needs_of(plan(), tmp_path)
    assert needs.of(A) is UNKNOWN_NEED
    assert not needs.is_settled(A)
    predicted = needs.prediction(A)()
    needs.on_predicted(needs.identity(A), predicted)
    assert sizes(needs) == (NeedSource.PREDICTED, {RAM: 20}, 300)
    assert needs.predicted(A) is predicted
    assert needs.is_settled(A)
    needs.learn(A, mib(ram=30, gpu0=350), is_new_run=True)
    assert sizes(needs) == (NeedSource.LEARNED, {RAM: 30}, 350)
    learned = needs.learned(A)
    assert learned is not None
    assert len(learned.runs) == 1


def test_what_runs_needs_at_least_what_it_holds(tmp_path: Path) -> None:
    """Until it has exited."""
    needs = needs_of(plan(), tmp_path)
    needs.on_predicted(needs.identity(A), estimate(300, 20))
    needs.on_measured(A, mib(ram=25, gpu0=320))
    assert sizes(needs) == (NeedSource.PREDICTED, {RAM: 25}, 320)
    needs.on_exited(A)
    assert sizes(needs) == (NeedSource.PREDICTED, {RAM: 20}, 300)


def test_models_with_one_command_share_what_is_known(tmp_path: Path) -> None:
    loaded = load_text("models: {a: {cmd: x}, b: {cmd: x}}")
    assert loaded.plan is not None
    needs = needs_of(loaded.plan, tmp_path)
    needs.on_predicted(needs.identity(A), estimate(300, 20))
    assert needs.of(A) == needs.of(B)


def test_other_gpus_need_other_predictions(tmp_path: Path) -> None:
    needs = needs_of(plan(), tmp_path)
    needs.on_predicted(needs.identity(A), estimate(300, 20))
    needs.on_pools(POOLS)
    assert needs.is_predicted(A)
    needs.on_pools(POOLS[:1])
    assert not needs.is_predicted(A)
    assert needs.of(A) is UNKNOWN_NEED


@pytest.mark.parametrize(("is_fitted", "movable"), [(True, 750), (False, 2000)])
def test_a_server_that_fits_itself_needs_no_more_than_there_is(
    tmp_path: Path, movable: int, *, is_fitted: bool
) -> None:
    """Another one would be refused: it is too large."""
    needs = needs_of(plan(), tmp_path)
    needs.on_predicted(needs.identity(A), estimate(2000, 20, is_fitted=is_fitted))
    assert sizes(needs) == (NeedSource.PREDICTED, {RAM: 20}, movable)


def test_a_server_that_grew_beyond_what_there_is_may_start_again(tmp_path: Path) -> None:
    """It needs all that there is: it runs alone. Where its first figure is too much, it can never fit."""
    needs = needs_of(plan(), tmp_path)
    needs.learn(A, mib(ram=100, gpu0=400), is_new_run=True)
    needs.learn(A, mib(ram=2000, gpu0=900), is_new_run=False)
    assert sizes(needs) == (NeedSource.LEARNED, {RAM: 900}, 750)
    needs.learn(A, mib(ram=950, gpu0=780), is_new_run=True)
    assert sizes(needs) == (NeedSource.LEARNED, {RAM: 950}, 780)


def test_what_runs_and_grew_may_start_again_at_once(tmp_path: Path) -> None:
    """Its last figures still stand when it exits, and a request that waits for that is decided."""
    needs = needs_of(plan(), tmp_path)
    needs.on_predicted(needs.identity(A), estimate(300, 20))
    needs.on_measured(A, mib(ram=2000, gpu0=900))
    assert sizes(needs) == (NeedSource.PREDICTED, {RAM: 900}, 750)


def test_a_correction_is_never_more_than_there_is(tmp_path: Path) -> None:
    """Also when the capacity shrank since: it was a guess."""
    needs = needs_of(plan(), tmp_path)
    needs.learn(A, mib(ram=100, gpu0=400), is_new_run=True)
    needs.correct(A, mib(gpu0=740))
    needs.on_pools((POOLS[0], DevicePool(id=GPU, total=Bytes(500 * MIB))))
    assert sizes(needs) == (NeedSource.LEARNED, {RAM: 100}, 500)


def test_a_learned_server_that_fits_itself_is_never_too_large(tmp_path: Path) -> None:
    needs = needs_of(plan(), tmp_path)
    needs.learn(A, mib(ram=100, gpu0=900), is_new_run=True)
    assert not needs.is_settled(A)
    assert sizes(needs)[2] == 900
    needs.on_predicted(needs.identity(A), estimate(2000, 20, is_fitted=True))
    assert sizes(needs) == (NeedSource.LEARNED, {RAM: 100}, 750)
    assert needs.of(A).is_fitted


def test_what_is_reclaimable(tmp_path: Path) -> None:
    needs = needs_of(plan(), tmp_path)
    assert needs.reclaimable(A) == 0
    copied = Part(name="weights", bytes=Bytes(70), is_reclaimable=True)
    needs.on_predicted(needs.identity(A), Estimate(parts=(copied,)))
    assert needs.reclaimable(A) == 70


def test_a_declared_size_says_all(tmp_path: Path) -> None:
    """Without GPUs a prediction would not change it; that of devices leaves the rest to other sources."""
    needs = needs_of(plan(", memory: 200MiB", ", memory: {gpu: 200MiB}"), tmp_path)
    needs.on_pools(POOLS[:1])
    assert sizes(needs) == (NeedSource.DECLARED, {RAM: 200}, 0)
    assert needs.is_settled(A)
    assert not needs.is_settled(B)


def test_a_declared_size_on_the_gpu_that_the_command_names(tmp_path: Path) -> None:
    """The command is read before the first load, too: the size lies where the server will be."""
    needs = needs_of(plan(", memory: 200MiB"), tmp_path)
    assert sizes(needs) == (NeedSource.DECLARED, {}, 200)
    assert not needs.is_settled(A)
    needs.on_predicted(needs.identity(A), replace(estimate(300, 20), devices=(GPU,)))
    assert sizes(needs) == (NeedSource.DECLARED, {RAM: 20, GPU: 200}, 0)
    assert needs.is_settled(A)


def test_a_declared_need_that_was_too_small(tmp_path: Path) -> None:
    """It is raised until the model was measured."""
    needs = needs_of(plan(", memory: 200MiB", ", memory: {gpu0: 200MiB, ram: 10MiB}"), tmp_path)
    needs.correct(A, mib(gpu0=500))
    assert sizes(needs) == (NeedSource.LEARNED, {}, 500)
    needs.correct(B, mib(gpu0=600))
    assert sizes(needs, B) == (NeedSource.LEARNED, {GPU: 600, RAM: 10}, 0)
    needs.learn(A, mib(ram=5, gpu0=190), is_new_run=True)
    assert sizes(needs) == (NeedSource.DECLARED, {RAM: 5}, 200)


def test_times_are_learned(tmp_path: Path) -> None:
    needs = needs_of(plan(), tmp_path)
    assert needs.reload == {}
    needs.learn_stop(A, Seconds(0.5))
    assert needs.reload == {}
    needs.learn_load(A, Seconds(2.0))
    needs.learn_stop(A, Seconds(1.5))
    assert needs.reload == {A: 3.0}
    needs.update()
    assert needs.reload == {A: 3.0}


def test_a_model_that_is_not_configured(tmp_path: Path) -> None:
    """Nothing is learned or asked of it; one that runs keeps its need until it has exited."""
    needs = needs_of(plan(), tmp_path)
    assert needs.identity(GONE) == ""
    assert needs.is_settled(GONE)
    assert needs.is_predicted(GONE)
    assert needs.learned(GONE) is None
    assert needs.predicted(GONE) is None
    needs.learn(GONE, mib(ram=1), is_new_run=True)
    assert needs.of(GONE) is UNKNOWN_NEED
    needs.on_measured(A, mib(ram=30, gpu0=350))
    only_b = load_text("models: {b: {cmd: 'x 2'}}").plan
    assert only_b is not None
    needs.replace(only_b)
    assert sizes(needs) == (NeedSource.LEARNED, {RAM: 30}, 350)
    needs.on_measured(A, mib(ram=40, gpu0=350))
    needs.on_exited(A)
    assert needs.of(A) is UNKNOWN_NEED


def test_a_mapping_that_was_given_out_does_not_change(tmp_path: Path) -> None:
    """The decisions compare it with the next one."""
    needs = needs_of(plan(", memory: 200MiB"), tmp_path)
    before = needs.known
    needs.on_predicted(needs.identity(B), estimate(300, 20))
    assert before.keys() == {A}
    assert needs.known.keys() == {A, B}
