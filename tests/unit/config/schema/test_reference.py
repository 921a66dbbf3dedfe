"""The schema as others read it: docs/configuration.md and the JSON Schema."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from modelswap.config.schema import field_types
from modelswap.config.schema.reference import json_schema
from modelswap.config.schema.schema_discover import RawTemplate
from modelswap.config.schema.schema_root import RawConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).parents[4] / "docs" / "configuration.md"
GENERATED = (
    "<!-- Made from the schema; "
    "`UPDATE_DOCS=1 pytest tests/unit/config/schema/test_reference.py` writes it. -->"
)
KINDS: dict[type, str] = {
    field_types.Bool: "true or false",
    field_types.Int: "whole number",
    field_types.Text: "text",
    field_types.GoDuration: "duration",
    field_types.Duration: "duration",
    field_types.Size: "size",
    field_types.Sizes: "size, or mapping to size",
    field_types.Anything: "anything",
    field_types.Record: "mapping",
    field_types.Either: "text or mapping",
    field_types.Short: "mapping, or its first key",
}

RECORDS = (field_types.Record, field_types.Either, field_types.Short)
AS_MODEL = (
    "discover.templates[].<key>",
    field_types.Key("", field_types.Anything(), "Any key of `models.<name>`."),
)


def _page() -> str:
    """Return the text of docs/configuration.md: every key with its type, default and meaning."""
    rows = [
        f"| `{path}` | {_type(one.shape)} | {_default(one)} | {one.help} |"
        for path, one in _rows("", RawConfig, ())
    ]
    head = (
        "# Configuration: every key",
        "",
        GENERATED,
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


def _rows(prefix: str, cls: type, above: tuple[type, ...]) -> Iterator[tuple[str, field_types.Key]]:
    for name, one in field_types.keys_of(cls).items():
        if one.hidden or (cls is RawTemplate and name not in RawTemplate.__annotations__):
            continue
        path = f"{prefix}{name}"
        yield path, one
        shape = one.shape
        if isinstance(shape, field_types.MapOf):
            path, shape = f"{path}.<name>", shape.value
        elif isinstance(shape, field_types.ListOf):
            path, shape = f"{path}[]", shape.item
        if isinstance(shape, RECORDS) and shape.cls not in above:
            yield from _rows(f"{path}.", shape.cls, (*above, shape.cls))
        if shape == field_types.Record(RawTemplate):
            yield AS_MODEL


def _type(shape: field_types.Shape) -> str:
    match shape:
        case field_types.ListOf():
            return f"list of {_type(shape.item)}"
        case field_types.OneOrMore():
            return f"{_type(shape.item)} or list"
        case field_types.MapOf():
            return f"mapping to {_type(shape.value)}"
        case _:
            return KINDS[type(shape)]


def _default(one: field_types.Key) -> str:
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


def test_reference_is_current() -> None:
    """docs/configuration.md is what the schema says."""
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(_page())
    assert PAGE.read_text() == _page()


def test_every_key_is_documented() -> None:
    """Each key has a sentence, and a row in the reference."""
    for name, key in field_types.keys_of(RawConfig).items():
        assert key.help.endswith((".", "…`.")), name
        assert key.hidden or f"| `{name}` |" in _page()


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
