"""What the launcher is told of a model: here, of the GPUs of its placement."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelswap.core.placement.policy import DeviceId, Placement
from modelswap.core.spec import ModelId
from modelswap.devices.memory import DeviceMemory
from modelswap.fleet.model_server import LaunchSpecs
from support.config import load_text

if TYPE_CHECKING:
    from modelswap.config.plan import Model

DEVICES = (
    DeviceMemory("ram", "", 1, 1),
    DeviceMemory("gpu0", "card", 1, 1, (), "GPU-aa", "NVIDIA"),
    DeviceMemory("gpu1", "card", 1, 1, (), "GPU-bb", "NVIDIA"),
)
GPU1 = Placement(devices=(DeviceId("gpu1"), DeviceId("gpu7")))
SHOWN = ("CUDA_VISIBLE_DEVICES=GPU-bb",)


def model(more: str = "") -> Model:
    plan = load_text(f"models: {{a: {{cmd: 'srv --port ${{PORT}}{more}'}}}}").plan
    assert plan is not None
    return plan.models[ModelId("a")]


def test_the_gpus_of_the_placement() -> None:
    """They are shown at every port; a device that is gone names nothing."""
    one = model()
    spec = LaunchSpecs({one.id: one}).of(one, GPU1, DEVICES)
    assert spec.device_env == SHOWN
    assert spec.at_port(6000).device_env == SHOWN
    assert spec.at_port(6000).port == 6000


def test_no_placement_and_a_command_that_chooses() -> None:
    """Without a choice nothing is set, and a command that numbers its GPUs sees all of them."""
    one, own = model(), model(" --main-gpu 1")
    specs = LaunchSpecs({one.id: one})
    assert specs.of(one, devices=DEVICES).device_env == ()
    assert specs.of(one, GPU1).device_env == ()
    assert specs.of(own, GPU1, DEVICES).device_env == ()
