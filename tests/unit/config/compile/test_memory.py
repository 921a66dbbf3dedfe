"""Keys of memory: needs, devices, and when models are placed by memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from modelswap.config.plan import DeviceSettings, Groups, Matrix, MemoryRouting
from modelswap.core.placement.policy import DeviceId, Facts, Question
from modelswap.core.spec import ModelId
from modelswap.units import Bytes, Seconds
from support.memory_questions import GIB, evicted, need, pool

if TYPE_CHECKING:
    from modelswap.config.load import Loaded
    from modelswap.config.plan import Plan
    from support.config import LoadText

A, B, C = ModelId("a"), ModelId("b"), ModelId("c")
MODELS = "models: {a: {cmd: 'x ${PORT}'}, b: {cmd: 'x ${PORT}'}, c: {cmd: 'x ${PORT}'}}\n"


def plan_of(found: Loaded) -> Plan:
    assert found.plan is not None, found.lines()
    return found.plan


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("6GiB", {"": 6 * GIB}),
        ("1000", {"": 1000}),
        ("{ram: 2GiB, gpu0: 6GiB}", {"ram": 2 * GIB, "gpu0": 6 * GIB}),
        ("{ram: 1GiB, gpu: 500MB, gpu12: }", {"ram": GIB, "gpu": 500_000_000}),
        ("{}", {}),
        ("", {}),
    ],
)
def test_needs(loaded: LoadText, text: str, expected: dict[str, int]) -> None:
    """One size, or sizes by device."""
    plan = plan_of(loaded(f"models: {{a: {{cmd: 'x ${{PORT}}', memory: {text}}}}}"))
    assert plan.models[A].memory == expected


def test_devices(loaded: LoadText) -> None:
    """Sizes and reserves by device; a device without keys says nothing."""
    plan = plan_of(
        loaded(MODELS + "devices: {ram: {capacity: 8GiB, reserve: 0}, gpu1: {}, gpu2: }")
    )
    assert plan.devices == {
        DeviceId("ram"): DeviceSettings(capacity=Bytes(8 * GIB), reserve=Bytes(0)),
        DeviceId("gpu1"): DeviceSettings(),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "models: {a: {cmd: 'x ${PORT}', memory: lots}}",
            "models.a.memory: expected a size; found",
        ),
        ("models: {a: {cmd: 'x ${PORT}', memory: [6GiB]}}", "models.a.memory: expected a size"),
        (
            "models: {a: {cmd: 'x ${PORT}', memory: {ram: -1}}}",
            "models.a.memory.ram: expected a size",
        ),
        (
            "models: {a: {cmd: 'x ${PORT}', memory: {vram: 6GiB}}}",
            "models.a.memory.vram: expected ram, gpu, or a GPU such as gpu0; found 'vram'",
        ),
        (MODELS + "devices: {gpu: {}}", "devices.gpu: expected ram, or a GPU such as gpu0"),
        (MODELS + "devices: {gpu01: {}}", "devices.gpu01: expected ram, or a GPU such as gpu0"),
        (
            MODELS + "devices: {ram: {capacity: 1GiB, reserve: 1GiB}}",
            "devices.ram.reserve: expected less than the device's capacity; found '1GiB'",
        ),
        (
            MODELS + "routing: {router: {settings: {memory: {strategy: heap}}}}",
            "strategy: expected one of spread, pack; found 'heap'",
        ),
    ],
)
def test_mistakes(loaded: LoadText, text: str, message: str) -> None:
    """What cannot be is a problem, with its place and what was found."""
    found = loaded(text)
    assert found.plan is None
    assert message in "\n".join(map(str, found.problems))


@pytest.mark.parametrize(
    ("devices", "memory", "warning"),
    [
        ("ram: {capacity: 8GiB, reserve: 1GiB}", "7.5GiB", "at most 7 GiB, which `devices`"),
        ("ram: {capacity: 8GiB}", "8.5GiB", "where there is no GPU"),
        ("ram: {capacity: 8GiB}", "8GiB", ""),
        ("ram: {capacity: 8GiB, reserve: 1GiB}", "{ram: 7GiB}", ""),
        ("ram: {reserve: 8GiB}", "{ram: 900GiB}", ""),
        ("gpu0: {capacity: 8GiB}", "{gpu0: 9GiB}", "models.a.memory.gpu0"),
        ("gpu0: {capacity: 8GiB}", "{gpu1: 9GiB}", ""),
        ("gpu0: {capacity: 8GiB}, gpu1: {capacity: 8GiB}", "{gpu: 12GiB}", ""),
        ("gpu0: {capacity: 8GiB}, gpu1: {capacity: 8GiB}", "{gpu: 17GiB}", "16 GiB"),
        ("gpu0: {capacity: 8GiB}, ram: {capacity: 99GiB}", "12GiB", "so its requests are refused"),
    ],
)
def test_a_need_over_the_capacity(
    loaded: LoadText, devices: str, memory: str, warning: str
) -> None:
    """It is a warning: the other models are served."""
    text = f"models: {{a: {{cmd: 'x ${{PORT}}', memory: {memory}}}}}\ndevices: {{{devices}}}"
    found = loaded(text)
    assert found.plan is not None
    lines = "\n".join(map(str, found.warnings))
    assert warning in lines
    assert bool(warning) == bool(lines)


# When models are placed by memory

PLACED = [
    "routing: {router: {use: memory}}",
    "devices: {ram: {reserve: 2GiB}}",
    "discover: /nowhere",
    "models: {a: {cmd: 'x ${PORT}', memory: 1GiB}}",
]
NOT_PLACED = [
    "",
    "devices: {}",
    "routing: {router: {use: group}}\ndevices: {ram: {reserve: 2GiB}}",
    "groups: {g: {members: [a]}}\ndevices: {ram: {reserve: 2GiB}}",
    "matrix: {sets: {s: a}}\ndevices: {ram: {reserve: 2GiB}}",
    "profiles: {p: {pins: {x: a}}}\ndevices: {ram: {reserve: 2GiB}}",
    "profiles: {p: [a, b]}\ndevices: {ram: {reserve: 2GiB}}",
    "models: {a: {cmd: 'x ${PORT}', memory: }}",
]


@pytest.mark.parametrize("text", [*PLACED, *NOT_PLACED])
def test_when_memory_decides(loaded: LoadText, text: str) -> None:
    """Where the file asks for it, or says something of memory and nothing of groups, matrix or profiles."""
    models = "" if text.startswith("models") else MODELS
    assert (plan_of(loaded(models + text)).memory is not None) == (text in PLACED)


def test_settings_of_the_router(loaded: LoadText) -> None:
    """They have defaults, and are taken as they are."""
    assert plan_of(loaded(MODELS + PLACED[0])).memory == MemoryRouting()
    written = "{wait: 2m, minResidency: 0, strategy: pack}"
    text = f"routing: {{router: {{use: memory, settings: {{memory: {written}}}}}}}"
    memory = plan_of(loaded(MODELS + text)).memory
    assert memory is not None
    assert (memory.wait, memory.min_residency, memory.strategy) == (
        Seconds(120),
        Seconds(0),
        "pack",
    )


@pytest.mark.parametrize("use", ["", "use: group, "])
def test_settings_without_the_router(loaded: LoadText, use: str) -> None:
    """Keys of the router that is not used are a warning that says how it would be."""
    settings = "settings: {memory: {strategy: pack}}"
    found = loaded(MODELS + f"routing: {{router: {{{use}{settings}}}}}")
    assert plan_of(found).memory is None
    told = "routing.router.settings.memory: has no effect: models are not placed by memory"
    assert told in "\n".join(map(str, found.warnings))


# What it decides


def answer(plan: Plan, target: ModelId, *live: ModelId) -> set[str]:
    """Ask for a model of 2 GiB beside others of 4 on a machine with 10 GiB."""
    needs = {model: need(ram=2 if model == target else 4) for model in (A, B, C)}
    facts = Facts(epoch=1, pools=(pool("ram", 10),), needs=needs)
    return evicted(plan.policy(Question(target, list(live), facts)))


def test_models_run_together_while_they_fit(loaded: LoadText) -> None:
    """Without groups no other rule counts; with the default of llama-swap one runs at a time."""
    assert answer(plan_of(loaded(MODELS + PLACED[0])), A, B, C) == set()
    assert answer(plan_of(loaded(MODELS)), A, B, C) == {B, C}


def test_groups_beside_memory(loaded: LoadText) -> None:
    """Groups that are written count too; models in none are bound by memory alone."""
    groups = "settings: {groups: {g: {members: [a, b], exclusive: false}}}"
    plan = plan_of(loaded(MODELS + f"routing: {{router: {{use: memory, {groups}}}}}"))
    assert isinstance(plan.routing, Groups)
    assert [group.id for group in plan.routing.groups] == ["g"]
    assert answer(plan, A, B, C) == {B}
    assert answer(plan, C, A, B) == set()


def test_a_matrix_beside_memory(loaded: LoadText) -> None:
    """A matrix that is written counts too."""
    matrix = "settings: {matrix: {sets: {s: a & b, t: c}}}"
    plan = plan_of(loaded(MODELS + f"routing: {{router: {{use: memory, {matrix}}}}}"))
    assert isinstance(plan.routing, Matrix)
    assert answer(plan, A, B) == set()
    assert answer(plan, C, A) == {A}


def test_pinned_models_stay(loaded: LoadText) -> None:
    """`pinned` reaches the policy."""
    models = "models: {a: {cmd: 'x ${PORT}'}, b: {cmd: 'x ${PORT}', pinned: true}, c: {cmd: 'x ${PORT}'}}\n"
    plan = plan_of(loaded(models + "routing: {router: {use: memory}}\ndevices: {}"))
    needs = {model: need(ram=4) for model in (A, B, C)}
    facts = Facts(epoch=1, pools=(pool("ram", 10),), needs=needs)
    assert evicted(plan.policy(Question(A, [B, C], facts))) == {C}


def test_spillover_beside_memory(loaded: LoadText) -> None:
    """Targets of a spillover need no group that lets them run together; a group may still forbid it."""
    selector = "selectors: {s: {strategy: spillover, targets: [a, b]}}\n"
    assert loaded(MODELS + selector + PLACED[0]).plan is not None
    groups = "settings: {groups: {g: {members: [a, b]}}}"
    found = loaded(MODELS + selector + f"routing: {{router: {{use: memory, {groups}}}}}")
    assert "cannot run together" in str(found.problems[0])
    free = "settings: {groups: {g: {members: [a]}}}"
    assert loaded(MODELS + selector + f"routing: {{router: {{use: memory, {free}}}}}").plan


def test_a_reload_says_what_changed(loaded: LoadText) -> None:
    """The sections by their names; a model's need changes without a restart."""
    from modelswap.config.diff import diff, summary  # noqa: PLC0415 - used here alone

    before = plan_of(loaded(MODELS + "routing: {router: {use: memory}}"))
    after = plan_of(
        loaded(
            "models: {a: {cmd: 'x ${PORT}', memory: 1GiB, pinned: true}, b: {cmd: 'x ${PORT}'}, "
            "c: {cmd: 'x ${PORT}'}}\ndevices: {ram: {reserve: 1GiB}}\n"
            "routing: {router: {use: memory, settings: {memory: {wait: 5}}}}"
        )
    )
    text = summary(diff(before, after))
    assert "a (memory, pinned)" in text
    assert "changed: routing.router, devices" in text
    assert Seconds(5) == after.memory.wait  # type: ignore[union-attr] # written above
