"""The schema as others read it: docs/configuration.md and the JSON Schema."""

from __future__ import annotations

from pathlib import Path

from modelswap.config.schema import field_types
from modelswap.config.schema.reference import json_schema, reference_page
from modelswap.config.schema.schema_root import RawConfig

PAGE = Path(__file__).parents[4] / "docs" / "configuration.md"


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
