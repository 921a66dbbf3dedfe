"""Whole files of every age."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelswap.config.describe import describe
from modelswap.config.load import Loaded, diff, load, specs
from modelswap.config.schema import field_types
from modelswap.config.schema.reference import json_schema, reference_page
from modelswap.config.schema.schema_root import RawConfig
from modelswap.config.schema.units import seconds, size
from modelswap.config.source.node import Map, Mark, locate
from modelswap.units import Seconds
from unit.config.conftest import load_text

if TYPE_CHECKING:
    from unit.config.conftest import LoadText

EXAMPLES = sorted((Path(__file__).parent / "examples").glob("*.yaml"))
PAGE = Path(__file__).parents[3] / "docs" / "configuration.md"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_file_of_any_age_loads(path: Path) -> None:
    """A file that some release accepted loads, and can be described."""
    found = load(path, environ={})
    assert found.plan is not None, found.lines()
    assert describe(found.plan).lines()
    assert specs(found.plan).keys() == found.plan.models.keys()
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
    assert [coder.priority, coder.ttl, coder.unload_timeout] == [5, 600, 30]
    assert comfyui.concurrency == 50
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


BASE = "models: {a: {cmd: 'x ${PORT}'}, b: {cmd: 'y ${PORT}'}}"

CHANGES = [
    (BASE, "same", "ab"),
    ("models: {b: {cmd: 'y ${PORT}'}}", "removed", "a"),
    ("models: {a: {cmd: 'x ${PORT}'}, b: {cmd: 'y ${PORT}'}, A: {cmd: 'z ${PORT}'}}", "same", "ab"),
    ("models: {a: {cmd: 'x ${PORT}'}, b: {cmd: 'y ${PORT}'}, A: {cmd: 'z ${PORT}'}}", "added", "A"),
    ("models: {a: {cmd: 'x -c 1 ${PORT}'}, b: {cmd: 'y ${PORT}'}}", "changed", "a"),
    ("models: {a: {cmd: 'x ${PORT}', env: [A=b]}, b: {cmd: 'y ${PORT}'}}", "changed", "a"),
    (
        "models: {a: {cmd: 'x ${PORT}', name: n, ttl: 5, aliases: [z], metadata: {p: 1}}, b: {cmd: 'y ${PORT}'}}",
        "same",
        "ab",
    ),
    ("startPort: 9000\n" + BASE, "same", "ab"),
    ("models: {a: {cmd: 'x ${PORT}', checkEndpoint: none}, b: {cmd: 'y ${PORT}'}}", "changed", "a"),
]


@pytest.mark.parametrize(("text", "kind", "names"), CHANGES)
def test_difference_of_two_files(loaded: LoadText, text: str, kind: str, names: str) -> None:
    """Only what its server was started with makes a model a changed one."""
    old, new = loaded(BASE).plan, loaded(text).plan
    assert old is not None
    assert new is not None
    assert getattr(diff(old, new), kind) == frozenset(names)


def test_difference_of_settings(loaded: LoadText) -> None:
    """Changed settings are named, those that need a restart by their keys."""
    text = "logToStdout: both\nlogLevel: warn\nstore: {path: other.db}"
    old, new = loaded("").plan, loaded(text).plan
    assert old is not None
    assert new is not None
    found = diff(old, new)
    assert set(found.settings) == {"log_level", "log_to_stdout", "store_path"}
    assert found.needs_restart == ("logToStdout",)
    assert diff(old, old).settings == ()


def test_reference_is_current() -> None:
    """docs/configuration.md is what the schema says."""
    assert PAGE.read_text() == reference_page()


def test_every_key_is_documented() -> None:
    """Each key has a sentence, and a row in the reference."""
    for name, key in field_types.keys_of(RawConfig).items():
        assert key.help.endswith((".", "…`.")), name
        assert key.hidden or f"| `{name}` |" in reference_page()


def test_json_schema_knows_every_key() -> None:
    """The JSON Schema has all keys, its references lead somewhere, and older spellings are in."""
    schema = json_schema()
    properties, definitions = schema["properties"], schema["$defs"]
    assert isinstance(properties, dict)
    assert isinstance(definitions, dict)
    visible = {name for name, key in field_types.keys_of(RawConfig).items() if not key.hidden}
    assert properties.keys() == visible | {"groups", "matrix"}
    references = {
        part.split('"')[0] for part in str(schema).replace("'", '"').split("#/$defs/")[1:]
    }
    assert references == definitions.keys()
    assert all(definitions.values())


DURATIONS = [
    ("5s", 5.0),
    ("1m30s", 90.0),
    ("500ms", 0.5),
    ("1.5h", 5400.0),
    ("-2s", -2.0),
    ("0", 0.0),
]


@pytest.mark.parametrize(("text", "value"), DURATIONS)
def test_duration(text: str, value: float) -> None:
    """Durations are written as in Go."""
    assert seconds(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "5", "s", "5 s", "5d", "1m30"])
def test_no_duration(text: str) -> None:
    """A bare number and an unknown unit are no durations."""
    assert seconds(text) is None


SIZES = [
    ("1KiB", 1024),
    ("1kB", 1000),
    ("1k", 1000),
    ("2 MiB", 2 << 20),
    ("7", 7),
    ("7B", 7),
    ("7iB", None),
    ("x", None),
]


@pytest.mark.parametrize(("text", "value"), SIZES)
def test_size(text: str, value: int | None) -> None:
    """Sizes are powers of 1000, with an `i` of 1024."""
    assert size(text) == value


def test_place_of_what_is_not_there() -> None:
    """The place of a missing key is that of the nearest thing that exists."""
    mark = Mark("f", 1, 1)
    assert locate(Map(mark), ("a", 0)) == mark


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
