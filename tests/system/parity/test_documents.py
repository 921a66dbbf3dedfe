"""The pages about routes and about llama-swap are true."""

from __future__ import annotations

import ast
import os
import re
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

from modelswap.api.routes import ROUTES, ModelLocation
from modelswap.config.schema.reference import json_schema
from modelswap.core.failure import Cause
from support.server import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCS = ROOT / "docs"
PAGE = DOCS / "llama-swap.md"
ROUTES_PAGE = DOCS / "routes.md"
TESTS = ROOT / "tests"
NAMED = re.compile(r"`([a-z]+/test_\w+\.py)(?:::(test_\w+))?`")


def routes_page() -> str:
    """Write `docs/routes.md` from the table."""
    lines = [
        "# Routes",
        "",
        "Made from `modelswap.api.routes`; `UPDATE_DOCS=1 pytest tests/parity/test_documents.py` writes it.",
        "A GET route answers HEAD, too. *Scope*: what a key must be allowed to do, where keys are set;",
        "*changes*: refused when a page of another site asks; *recorded*: leaves a row in the activity list.",
        "",
        "| method | path | scope | model | changes | recorded |",
        "|---|---|---|---|---|---|",
    ]
    for route in ROUTES:
        model = "" if route.model is ModelLocation.NONE else route.model.value
        flags = [("yes" if flag else "") for flag in (route.changes, route.recorded)]
        scope = route.scope.value or "no key needed"
        lines.append(
            f"| {route.method} | `{route.path}` | {scope} | {model} | {' | '.join(flags)} |"
        )
    return "\n".join(lines) + "\n"


def test_the_table_of_routes_is_current() -> None:
    """`docs/routes.md` is what the table of routes says."""
    if os.environ.get("UPDATE_DOCS"):
        ROUTES_PAGE.write_text(routes_page())
    assert ROUTES_PAGE.read_text() == routes_page()


def test_the_classes_of_failures_are_current() -> None:
    """`docs/failures.md` has a row for each class, and no other."""
    rows = [f"| `{c.value}` | {c.phrase} | {'yes' if c.is_lasting else 'no'} |" for c in Cause]
    page = (DOCS / "failures.md").read_text().partition("## The classes")[2]
    assert [row for row in page.partition("## Whether")[0].splitlines() if "| `" in row] == rows


def configuration_keys() -> Iterator[str]:
    """Every key that holds a value, as the page spells it."""
    schema: Any = json_schema()

    def walk(node: Any, prefix: str) -> Iterator[str]:
        below = list(_children(node, schema["$defs"]))
        if not below and prefix:
            yield prefix
        for name, child in below:
            yield from walk(
                child, prefix + name if name == "[]" else f"{prefix}.{name}".lstrip(".")
            )

    yield from walk(schema, "")


def _children(node: Any, definitions: Any) -> Iterator[tuple[str, Any]]:
    """What is below a place of the schema: names of keys, `<id>` for any, `[]` for items."""
    if "$ref" in node:
        node = definitions[node["$ref"].rpartition("/")[2]]
    for choice in (*node.get("anyOf", ()), *node.get("oneOf", ())):
        yield from _children(choice, definitions)
    yield from node.get("properties", {}).items()
    for name, more in (("<id>", node.get("additionalProperties")), ("[]", node.get("items"))):
        if isinstance(more, dict) and any(_children(more, definitions)):
            yield name, more


def test_every_key_is_judged() -> None:
    """The page names every key of the configuration."""
    text = PAGE.read_text()
    keys = sorted(set(configuration_keys()))
    assert len(keys) > 90
    assert [key for key in keys if f"`{key}`" not in text] == []


def test_every_route_is_judged() -> None:
    """The page names every route."""
    text = PAGE.read_text()
    paths = {route.path for route in ROUTES}
    missing = [p for p in paths if f"`{p}`" not in text and f" {p}`" not in text]
    assert sorted(missing) == []


@cache
def names_in(file: str) -> set[str]:
    tree = ast.parse((TESTS / file).read_text())
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, functions)}


@pytest.mark.parametrize("line", [x for x in PAGE.read_text().splitlines() if x.startswith("| ")])
def test_every_row_has_its_test(line: str) -> None:
    """Every row of the page names a test, and it exists."""
    if "shown by" in line:
        return
    found = NAMED.findall(line)
    assert found, line
    for file, name in found:
        assert (TESTS / file).exists(), file
        assert not name or name in names_in(file), name
