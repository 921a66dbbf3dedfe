"""The schema as a JSON Schema, for editors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, assert_never, cast

from . import field_types as types
from .schema_root import RawConfig

if TYPE_CHECKING:
    from modelswap.config.tree.values import Json

_OLD: Final[dict[str, tuple[str, ...]]] = {
    "RawModel": ("cmd_stop",),
    "RawFilters": ("strip_params",),
    "RawConfig": ("groups", "matrix"),
}
_MACRO: Final = r"\$\{[A-Za-z0-9_.-]+\}"


def json_schema() -> dict[str, Json]:
    definitions: dict[str, Json] = {}
    root = _record(RawConfig, definitions)
    root["patternProperties"] = {"^x-": {}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "modelswap configuration",
        **root,
        "$defs": definitions,
    }


def _record(cls: type, definitions: dict[str, Json]) -> dict[str, Json]:
    properties: dict[str, Json] = {}
    for name, one in types.keys_of(cls).items():
        if not one.hidden:
            about: dict[str, Json] = {"description": one.help}
            default = one.default
            if isinstance(default, bool | int | float | str) and default != "":
                about["default"] = default
            properties[name] = {**_nullable(_shape(one.shape, definitions)), **about}
    for name in _OLD.get(cls.__name__, ()):
        properties[name] = {"description": "An older spelling.", "deprecated": True}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _nullable(schema: dict[str, Json]) -> dict[str, Json]:
    return schema if not schema else {"anyOf": [schema, {"type": "null"}]}


def _or_macro(kind: str) -> dict[str, Json]:
    return {"anyOf": [{"type": kind}, {"type": "string", "pattern": f"^{_MACRO}$"}]}


def _shape(  # noqa: C901, PLR0911, PLR0912 - one flat table of all kinds
    shape: types.Shape, definitions: dict[str, Json]
) -> dict[str, Json]:
    match shape:
        case types.Bool():
            return _or_macro("boolean")
        case types.Int():
            return _or_macro("number")
        case types.Text():
            return (
                {"enum": [*shape.one_of]}
                if shape.one_of
                else {"type": ["string", "number", "boolean"]}
            )
        case types.GoDuration():
            return {"type": "string"}
        case types.Duration() | types.Size():
            return {"type": ["string", "number"]}
        case types.Sizes():
            size = _shape(types.Size(), definitions)
            return {"anyOf": [size, {"type": "object", "additionalProperties": size}]}
        case types.Anything():
            return {}
        case types.ListOf():
            items = _nullable(_shape(shape.item, definitions))
            return {"type": "array", "items": items}
        case types.OneOrMore():
            one = _nullable(_shape(shape.item, definitions))
            return {"anyOf": [one, {"type": "array", "items": one}]}
        case types.Short():
            short = types.keys_of(cast("type", shape.cls))[shape.key].shape
            return {"anyOf": [_shape(short, definitions), _reference(shape.cls, definitions)]}
        case types.MapOf():
            values = _nullable(_shape(shape.value, definitions))
            return {"type": "object", "additionalProperties": values}
        case types.Record():
            return _reference(shape.cls, definitions)
        case types.Either():
            return {"anyOf": [{"type": ["string", "number"]}, _reference(shape.cls, definitions)]}
        case _ as never:
            assert_never(never)


def _reference(cls: type, definitions: dict[str, Json]) -> dict[str, Json]:
    name = cls.__name__.removeprefix("Raw")
    if name not in definitions:
        definitions[name] = {}
        definitions[name] = _record(cls, definitions)
    return {"$ref": f"#/$defs/{name}"}
