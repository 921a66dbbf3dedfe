"""The pages about routes and about llama-swap are true."""

from __future__ import annotations

import ast
import os
import re
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

from modelswap.api.routes import PROBES, ROUTES, ModelLocation, Route, Starts
from modelswap.config.schema.reference import json_schema
from modelswap.config.schema.schema_discover import RawTemplate
from modelswap.core.failure import Cause
from modelswap.observe.usage.usage import UsageFormat
from support.server import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCS = ROOT / "docs"
PAGE = DOCS / "llama-swap.md"
ROUTES_PAGE = DOCS / "routes.md"
TESTS = ROOT / "tests"
NAMED = re.compile(r"`((?:[a-z]+/)+test_\w+\.py)(?:::(test_\w+))?`")


def routes_page() -> str:
    """Write `docs/routes.md` from the table."""
    lines = [
        "# Routes",
        "",
        "Made from `modelswap.api.routes`; `UPDATE_DOCS=1 pytest tests/system/parity/test_documents.py` writes it.",
        "A GET route answers HEAD, too. *Scope*: what a key must be allowed to do, where keys are set;",
        "*model*: where the request names it (a body may be JSON, multipart or urlencoded; `comfyui_auto` is",
        "always meant, and only `/comfyui/` itself starts it); *starts*: loads a model that is not ready;",
        "*changes*: refused when a page of another site asks; *all*: not for keys that are limited to some models;",
        "*recorded*: leaves a row in the activity list; *captured*: which bodies a capture keeps;",
        "*events*: what keep-alives and late errors look like in a stream; *figures*: where a response in one",
        "piece has its token figures, if not in an object; *quiet*: no line in the log.",
        "",
        "| method | path | scope | model | starts | changes | all | recorded | captured | events | figures | quiet |",
        "|" + "---|" * 12,
    ]
    lines += [row_of(route) for route in ROUTES]
    lines += [
        "",
        "Below `/upstream/<model>` a request of the first table is recorded where llama-swap has the route, too.",
        "These ask for the state of a model server; they never count as use for its `ttl`:",
        "",
        "| method | path | starts |",
        "|---|---|---|",
    ]
    lines += [f"| {route.method} | `{route.path}` | {route.starts.value} |" for route in PROBES]
    return "\n".join(lines) + "\n"


def row_of(route: Route) -> str:
    goes_to_a_model = route.model is not ModelLocation.NONE
    kept = [("request", route.captured.request_body), ("response", route.captured.response_body)]
    captured = " and ".join(name for name, is_kept in kept if is_kept) or "no body"
    cells = [
        route.method,
        f"`{route.path}`",
        route.scope or "no key needed",
        route.model.value,
        route.starts.value if goes_to_a_model or route.starts is Starts.ALWAYS else "",
        "yes" if route.changes else "",
        "yes" if route.mixed else "",
        "yes" if route.recorded else "",
        captured if route.recorded else "",
        "" if route.dialect is None else route.dialect.value,
        "" if route.usage is UsageFormat.OBJECT else route.usage.value,
        "yes" if route.quiet else "",
    ]
    return f"| {' | '.join(cells)} |"


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
            if prefix == "discover.templates[]" and name not in RawTemplate.__annotations__:
                continue  # a key of `models.<id>`
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
