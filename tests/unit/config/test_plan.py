"""Keys on their way into the plan: one new key is one edit in the schema and one where it is used."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import TYPE_CHECKING, Any, assert_never

import pytest

from modelswap.config.plan import (
    ApiKey,
    Capabilities,
    Group,
    Model,
    Peer,
    Selector,
    Settings,
)
from modelswap.config.schema import schema, schema_root
from modelswap.config.schema.field_types import (
    Anything,
    Bool,
    Duration,
    Either,
    GoDuration,
    Int,
    Key,
    ListOf,
    MapOf,
    OneOrMore,
    Record,
    Shape,
    Short,
    Size,
    Sizes,
    Text,
    keys_of,
    values_of,
)
from modelswap.core.spec import ModelSpec
from modelswap.units import Seconds
from support.config import load_text

if TYPE_CHECKING:
    from collections.abc import Iterator

WITHOUT_EFFECT = {
    "healthCheckTimeout": "the global key counts; a warning says so",
    "macros": "they are expanded, and the values that use them hold the result",
}
"""Keys of a model that do not reach the plan, and why."""
SAMPLES: dict[str, Any] = {
    "proxy": "http://localhost:9000",
    "in": ["audio"],
    "out": ["audio"],
    "setParamsByID": {"other": {"seed": 7}},
}
"""Values of keys that take only some."""


def _sample(key: Key) -> Any:
    """A value that is not the key's default."""
    return SAMPLES.get(key.name) or _of_shape(key.shape, key.default)


def _of_shape(shape: Shape, default: object) -> Any:
    match shape:
        case Bool():
            return default is not True
        case Int() | Duration() | Size():
            return 7
        case Sizes():
            return {"gpu0": 7}
        case GoDuration():
            return "7s"
        case Text(one_of=one_of):
            return one_of[-1] if one_of else "sample"
        case Anything():
            return "sample"
        case ListOf() | OneOrMore():
            return [_of_shape(shape.item, None)]
        case MapOf():
            return {"sample": _of_shape(shape.value, None)}
        case Record() | Either() | Short():
            raise AssertionError("a record has keys of its own")
        case _ as never:
            assert_never(never)


def _leaves(cls: type, above: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every key below a record: its path, and the smallest mapping that holds it."""
    for name, key in keys_of(cls).items():
        if isinstance(key.shape, Record):
            yield from _leaves(key.shape.cls, (*above, name))
            continue
        value = _sample(key)
        for part in reversed((*above, name)):
            value = {part: value}
        yield ".".join((*above, name)), value


def _model(more: dict[str, Any]) -> Model:
    found = load_text(json.dumps({"models": {"a": {"cmd": "srv ${PORT}"} | more}}))
    assert found.plan is not None, found.lines()
    (model,) = found.plan.models.values()
    return model


@pytest.mark.parametrize(("key", "more"), [*_leaves(schema.RawModel)])
def test_every_key_of_a_model_reaches_the_plan(key: str, more: dict[str, Any]) -> None:
    """A key that is in the schema changes the plan's model, or a reason says why not."""
    reaches = _model(more) != _model({})
    assert reaches == (key not in WITHOUT_EFFECT)


INHERITED = [
    (schema.ModelKeys, Model),
    (schema.CapabilityKeys, Capabilities),
    (schema.PeerKeys, Peer),
    (schema.SelectorKeys, Selector),
    (schema.GroupKeys, Group),
    (schema.ApiKeyKeys, ApiKey),
    (schema_root.SettingKeys, Settings),
]


@pytest.mark.parametrize(("keys", "record"), INHERITED)
def test_a_plan_s_record_has_the_keys_that_need_no_compiling(keys: Any, record: Any) -> None:
    """Such a key is declared once: the schema's class and the plan's share it, default included."""
    assert issubclass(record, keys)
    own = {one.name: (one.default, one.default_factory) for one in fields(record)}
    for one in fields(keys):
        assert own[one.name] == (one.default, one.default_factory)


def test_the_core_has_the_keys_that_it_takes_as_they_are() -> None:
    """Each key of `CoreKeys` is a field of `ModelSpec`, with the same default."""
    core = {one.name: one.default for one in fields(ModelSpec)}
    assert values_of(schema.CoreKeys(), schema.CoreKeys).items() <= core.items()


def test_the_plan_holds_what_the_core_needs() -> None:
    """The specs of all models, and the policy that the routing amounts to."""
    found = load_text("models: {a: {cmd: x, ttl: 5, unloadTimeout: 7, restoreOnFailure: yes}}")
    assert found.plan is not None
    (name,) = found.plan.models
    assert found.plan.specs == {
        name: ModelSpec(
            id=name,
            start_timeout=Seconds(120),
            stop_grace=Seconds(7),
            ttl=Seconds(5),
            restore_on_failure=True,
        )
    }
