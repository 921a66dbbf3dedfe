"""The tree keeps its shape."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src"
LIMIT = 400
LONGEST_FUNCTION = 60
FILES = sorted(SRC.rglob("*.py"))


def name(path: Path) -> str:
    return str(path.relative_to(SRC))


@pytest.mark.parametrize("path", FILES, ids=name)
def test_no_module_is_too_long(path: Path) -> None:
    """A module over the limit has two subjects; split it."""
    assert len(path.read_text().splitlines()) <= LIMIT


@pytest.mark.parametrize("path", FILES, ids=name)
def test_no_function_is_too_long(path: Path) -> None:
    """A function over the limit decides, does and says at once."""
    long = [
        f"{node.name}:{node.lineno}"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= LONGEST_FUNCTION
    ]
    assert long == []


@pytest.mark.parametrize("path", FILES, ids=name)
def test_every_module_says_its_subject(path: Path) -> None:
    """A module without a docstring has no room in the house."""
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_every_dependency_has_its_reason() -> None:
    """What pyproject.toml asks for stands in architecture.md's table."""
    import tomllib  # noqa: PLC0415 - only here

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *project["optional-dependencies"]["engine"]]
    names = [dependency.split(">")[0].split(";")[0].strip() for dependency in asked]
    table = (ROOT / "docs" / "architecture.md").read_text().split("## Dependencies")[1].lower()
    assert [n for n in names if n not in table] == []
