"""Whole files of every age."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelswap.config.describe import describe
from modelswap.config.load import Loaded, load
from modelswap.config.schema import field_types
from modelswap.config.schema.schema_root import RawConfig
from modelswap.units import Seconds
from support.config import load_text

EXAMPLES = sorted((Path(__file__).parent / "examples").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_file_of_any_age_loads(path: Path) -> None:
    """A file that some release accepted loads, and can be described."""
    found = load(path, environ={})
    assert found.plan is not None, found.lines()
    assert describe(found.plan)
    assert found.plan.specs.keys() == found.plan.models.keys()
    assert found.plan.files == (str(path),)


def _example(name: str) -> Loaded:
    return load(Path(__file__).parent / "examples" / f"{name}.yaml", environ={})


def test_newest_example_in_detail() -> None:
    """Anchors, filters, limits and names of a current file end up where they belong."""
    plan = _example("v250").plan
    assert plan is not None
    coder, _, comfyui = plan.models.values()
    assert coder.aliases == ("coder:high",)
    assert coder.filters.set_by_id == {
        "coder:high": {"reasoning_effort": "high"},
        "coder": {"reasoning_effort": "low"},
    }
    limits = coder.timeouts
    assert [limits.connect, limits.keepalive, limits.response_header] == [
        Seconds(5),
        Seconds(15),
        Seconds(60),
    ]
    assert [coder.spec.priority, coder.spec.ttl, coder.spec.stop_grace] == [5, 600, 30]
    assert comfyui.spec.concurrency == 50
    assert plan.profiles["day"].pins["off"] == ""
    assert plan.selectors["auto"].spillover == 2


def test_metadata_example_in_detail() -> None:
    """Typed macros keep their types, spliced ones are text as Go prints it."""
    plan = _example("v163_metadata").plan
    assert plan is not None
    (model,) = plan.models.values()
    assert model.argv[-4:] == ("--temp", "0.7", "-a", "gemma")
    assert model.cmd_stop == "docker stop gemma ${PID}"
    assert model.filters.strip == ("temperature", "top_k")
    assert model.metadata == {
        "port": 5800,
        "context": 16384,
        "temp": 0.7,
        "note": "ctx is 16384",
        "nested": {"list": [1, "yes", 0.7]},
    }


_KEYS = st.sampled_from(
    [*field_types.keys_of(RawConfig), "groups", "matrix", "cmd", "ttl", "${PORT}", "<<"]
)
_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["${PORT}", "${x}", "a", "http://h:1", "9:9"])
)
_TREES = st.recursive(
    _LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(_KEYS | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(_KEYS, _TREES, max_size=4))
def test_any_tree_loads_or_is_explained(tree: dict[str, object]) -> None:
    """Whatever the keys hold, there is a plan or there are problems, never an exception."""
    import json  # noqa: PLC0415 - JSON is YAML enough here

    found = load_text(json.dumps(tree).replace("Infinity", ".inf").replace("NaN", ".nan"))
    assert (found.plan is None) == bool(found.problems)


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("ab:- \n{}[],&*!|>'\"%@`#?~<\t0${.}é\x00"), max_size=60))
def test_any_text_loads_or_is_explained(text: str) -> None:
    """Whatever a file holds, there is a plan or there are problems, never an exception."""
    found = load_text(text)
    assert (found.plan is None) == bool(found.problems)
