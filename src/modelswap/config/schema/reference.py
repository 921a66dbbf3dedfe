"""The schema as others read it: JSON Schema for editors, a table for people.

Law: nothing here is written by hand twice; both are made from the records.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, assert_never

from .field_types import (
    Anything,
    Bool,
    Duration,
    Either,
    GoDuration,
    Int,
    Key,
    ListOf,
    MapOf,
    Record,
    Shape,
    Size,
    Text,
    keys_of,
)
from .schema_root import RawConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

    from modelswap.config.tree.values import Json

_OLD: Final[dict[str, tuple[str, ...]]] = {
    "RawModel": ("cmd_stop",),
    "RawFilters": ("strip_params",),
    "RawConfig": ("groups", "matrix"),
}
_MACRO: Final = r"\$\{[A-Za-z0-9_.-]+\}"
_GENERATED: Final = (
    "<!-- Made from the schema by `modelswap.config.schema.reference`; do not edit. -->"
)


def json_schema() -> dict[str, Json]:
    """The JSON Schema of the file (draft 2020-12), for editors."""
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
    for name, one in keys_of(cls).items():
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


def _shape(  # noqa: C901, PLR0911 - one flat table of all kinds
    shape: Shape, definitions: dict[str, Json]
) -> dict[str, Json]:
    match shape:
        case Bool():
            return _or_macro("boolean")
        case Int():
            return _or_macro("number")
        case Text():
            return (
                {"enum": [*shape.one_of]}
                if shape.one_of
                else {"type": ["string", "number", "boolean"]}
            )
        case GoDuration():
            return {"type": "string"}
        case Duration() | Size():
            return {"type": ["string", "number"]}
        case Anything():
            return {}
        case ListOf():
            items = _nullable(_shape(shape.item, definitions))
            return {"type": "array", "items": items}
        case MapOf():
            values = _nullable(_shape(shape.value, definitions))
            return {"type": "object", "additionalProperties": values}
        case Record():
            return _reference(shape.cls, definitions)
        case Either():
            return {"anyOf": [{"type": ["string", "number"]}, _reference(shape.cls, definitions)]}
        case _ as never:
            assert_never(never)


def _reference(cls: type, definitions: dict[str, Json]) -> dict[str, Json]:
    name = cls.__name__.removeprefix("Raw")
    if name not in definitions:
        definitions[name] = {}
        definitions[name] = _record(cls, definitions)
    return {"$ref": f"#/$defs/{name}"}


def reference_page() -> str:
    """docs/configuration.md: every key with its kind, default and meaning."""
    rows = [
        f"| `{path}` | {_kind(one.shape)} | {_default(one)} | {one.help} |"
        for path, one in _rows("", RawConfig, ())
    ]
    head = (
        "# Configuration: every key",
        "",
        _GENERATED,
        "",
        "A file for llama-swap is a file for modelswap, whatever its release. Names, types and",
        "defaults are below; `<name>` stands for a name of your own. Durations without a unit are",
        "seconds. `modelswap check FILE` says what a file amounts to, and every mistake in it.",
        "Top-level `groups` and `matrix` are short for those under `routing.router.settings`.",
        "",
        "| key | kind | default | meaning |",
        "|---|---|---|---|",
    )
    return "\n".join([*head, *rows]) + "\n"


def _rows(prefix: str, cls: type, above: tuple[type, ...]) -> Iterator[tuple[str, Key]]:
    for name, one in keys_of(cls).items():
        if one.hidden:
            continue
        path = f"{prefix}{name}"
        yield path, one
        shape = one.shape
        if isinstance(shape, MapOf):
            path, shape = f"{path}.<name>", shape.value
        elif isinstance(shape, ListOf):
            path, shape = f"{path}[]", shape.item
        if isinstance(shape, Record | Either) and shape.cls not in above:
            yield from _rows(f"{path}.", shape.cls, (*above, shape.cls))


def _kind(shape: Shape) -> str:  # noqa: C901, PLR0911 - one flat table of all kinds
    match shape:
        case Bool():
            return "true or false"
        case Int():
            return "whole number"
        case Text():
            return "text"
        case GoDuration() | Duration():
            return "duration"
        case Size():
            return "size"
        case Anything():
            return "anything"
        case ListOf():
            return f"list of {_kind(shape.item)}"
        case MapOf():
            return f"mapping to {_kind(shape.value)}"
        case Record():
            return "mapping"
        case Either():
            return "text or mapping"
        case _ as never:
            assert_never(never)


def _default(one: Key) -> str:
    if one.shown:
        return one.shown
    match one.default:
        case bool() as flag:
            return f"`{str(flag).lower()}`"
        case int() | float() as number:
            return f"`{number:g}`"
        case str() as text:
            return f"`{text}`" if text else ""
        case _:
            return ""
