"""The tree keeps its shape."""

from __future__ import annotations

import ast
import os
from pathlib import Path
from typing import Final

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


PACKAGE = SRC / "modelswap"
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- folders: made from the packages' docstrings -->", "<!-- end of folders -->"
MOST_FILES = 10
"""About as many as a reader keeps in mind; one more is allowed where a split would tear a subject."""
LARGER: Final = {"catalog": 11, "fleet": 11, "http/server": 11}
"""Folders that are one file over: each file is a unit of one composition."""
UNUSUAL: Final = {
    "core/test_simulation.py": "the controller on virtual time, with random servers and clients",
    "core/test_simulation_memory.py": "the same, with models that are placed by memory",
    "support/test_stub.py": "the scripted model server of the tests",
}
"""Unit test -> what it tests, as no one module does."""
UNITS = ROOT / "tests" / "unit"


def folders() -> list[Path]:
    """Return each package below `modelswap`, parents first."""
    return sorted(path.parent for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE)


def subject(path: Path) -> str:
    """Return the first line of a module's docstring."""
    return (ast.get_docstring(ast.parse(path.read_text())) or "").splitlines()[0]


def folder_lines() -> str:
    """Return the list of folders for `docs/architecture.md`."""
    lines = [
        f"| `{folder.relative_to(PACKAGE)}/` | {subject(folder / '__init__.py')} |"
        for folder in folders()
    ]
    return "\n".join([BEGIN, "", "| folder | what it is |", "|---|---|", *lines, "", END])


def test_each_folder_has_its_line() -> None:
    """`docs/architecture.md` lists the folders; `UPDATE_DOCS=1` writes the list."""
    text = PAGE.read_text()
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    if os.environ.get("UPDATE_DOCS"):
        text = before + folder_lines() + after
        PAGE.write_text(text)
    assert folder_lines() in text


@pytest.mark.parametrize("folder", folders(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_folder_is_small(folder: Path) -> None:
    """A folder with more files has two subjects."""
    modules = [path for path in folder.glob("*.py") if not path.name.startswith("__")]
    most = LARGER.get(str(folder.relative_to(PACKAGE)), MOST_FILES)
    assert len(modules) <= most, sorted(path.name for path in modules)


def _is_number(node: ast.expr | None) -> bool:
    match node:
        case ast.Constant(value=bool()):
            return False
        case ast.Constant(value=int() | float()):
            return True
        case ast.UnaryOp(operand=operand):
            return _is_number(operand)
        case ast.BinOp(left=left, right=right):
            return _is_number(left) and _is_number(right)
        case ast.Call(func=ast.Name(id="Seconds" | "Bytes"), args=[value]):
            return _is_number(value)
        case _:
            return False


@pytest.mark.parametrize("path", FILES, ids=name)
def test_each_number_has_its_reason(path: Path) -> None:
    """A numeric constant of a module is followed by its unit and reason, or has them on its line."""
    text = path.read_text()
    lines = text.splitlines()
    body = ast.parse(text).body
    bare = [
        ast.unparse(node)
        for node, following in zip(body, [*body[1:], None], strict=True)
        if isinstance(node, ast.Assign | ast.AnnAssign)
        and _is_number(node.value)
        and not (
            isinstance(following, ast.Expr)
            and isinstance(following.value, ast.Constant)
            and isinstance(following.value.value, str)
        )
        and "# " not in lines[node.end_lineno - 1]  # type: ignore[operator]  # it was parsed
        and not lines[node.lineno - 2].startswith("# ")
    ]
    assert bare == []


def _unit_tests() -> list[Path]:
    return sorted(UNITS.rglob("test_*.py"))


def _subject_of(path: Path) -> bool:
    """Tell whether the module, or the package, that a unit test is named after exists."""
    folder = PACKAGE / path.parent.relative_to(UNITS)
    words = path.stem.removeprefix("test_").split("_")
    stems = ["_".join(words[:end]) for end in range(len(words), 0, -1)]
    return any((folder / f"{stem}.py").exists() or (folder / stem).is_dir() for stem in stems)


@pytest.mark.parametrize("path", _unit_tests(), ids=lambda path: str(path.relative_to(UNITS)))
def test_a_unit_test_lies_where_its_module_lies(path: Path) -> None:
    """`tests/unit/a/test_b_c.py` tests `a/b_c.py`, an aspect `c` of `a/b.py`, or the package `a`."""
    folder = PACKAGE / path.parent.relative_to(UNITS)
    assert (folder / "__init__.py").exists() or path.parent == UNITS or folder.name == "support"
    is_of_the_package = path.stem == f"test_{path.parent.name}"
    assert _subject_of(path) or is_of_the_package or str(path.relative_to(UNITS)) in UNUSUAL


def test_the_exceptions_exist() -> None:
    """`UNUSUAL` names no file that has moved."""
    assert all((UNITS / name).exists() for name in UNUSUAL)
