"""From a plan to its policy: `modelsMax` beside the routing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from modelswap.config.load import load
from modelswap.core.placement.policy import NeverFits, PlacementPlan, Question
from modelswap.core.spec import ModelId
from support.config import load_text

if TYPE_CHECKING:
    from pathlib import Path

    from modelswap.config.plan import Plan

MODELS = "models: {a: {cmd: x}, b: {cmd: x}, c: {cmd: x}, t: {cmd: x}}\n"


def plan_of(text: str) -> Plan:
    found = load_text(text + MODELS)
    assert found.plan is not None, found.problems
    return found.plan


def evicted(plan: Plan, target: str, *live: str) -> set[str]:
    answer = plan.policy(Question(ModelId(target), [ModelId(m) for m in live]))
    assert isinstance(answer, PlacementPlan)
    return {*answer.evicted}


def test_without_a_number_one_model_runs_at_a_time() -> None:
    """As with llama-swap."""
    assert evicted(plan_of(""), "t", "a") == {"a"}


@pytest.mark.parametrize(
    ("most", "gone"), [(0, set()), (1, {"a", "b", "c"}), (3, {"a"}), (4, set())]
)
def test_the_number_alone(most: int, gone: set[str]) -> None:
    """Without a router it replaces the group that swaps all models; 0 is no bound."""
    assert evicted(plan_of(f"modelsMax: {most}\n"), "t", "a", "b", "c") == gone


def test_beside_groups() -> None:
    """What the groups evict counts first; models in no group are in the default one still."""
    groups = "routing: {router: {settings: {groups: {g: {members: [t, c], exclusive: false}}}}}\n"
    plan = plan_of(f"modelsMax: 2\n{groups}")
    assert evicted(plan, "t", "a", "c") == {"c"}
    assert evicted(plan, "t", "a", "b", "c") == {"a", "c"}
    assert evicted(plan, "a", "b") == {"b"}


def test_who_stays() -> None:
    """Pinned models, and those of persistent groups, do not leave for the number."""
    text = (
        "modelsMax: 2\nrouting: {router: {settings: {groups: {p: {members: [a], persistent: true,"
        " exclusive: false}, g: {members: [b, t], swap: false, exclusive: false}}}}}\n"
        "models: {a: {cmd: x}, b: {cmd: x, pinned: true}, t: {cmd: x}}\n"
    )
    plan = load_text(text).plan
    assert plan is not None
    answer = plan.policy(Question(ModelId("t"), [ModelId("a"), ModelId("b")]))
    assert answer == NeverFits("at most 2 models may be loaded, and a and b stay")


def test_the_command_line_wins(tmp_path: Path) -> None:
    """Over the file, and it counts where the file says nothing."""
    for text in ("modelsMax: 1\n", ""):
        file = tmp_path / "c.yaml"
        file.write_text(text + MODELS)
        plan = load(file, models_max=2).plan
        assert plan is not None
        assert plan.settings.models_max == 2
        assert evicted(plan, "t", "a", "b") == {"a"}


def test_no_number_of_models() -> None:
    """A text and a negative number are mistakes, with the key."""
    for wrong in ("many", "-1"):
        found = load_text(f"modelsMax: {wrong}\n{MODELS}")
        assert found.plan is None
        assert "modelsMax" in str(found.problems[0])
