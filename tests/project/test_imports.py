"""The drawing of imports has no circle; imports for type checking count."""

from __future__ import annotations

import ast
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from pathlib import Path

import grimp
import pytest

from modelswap.deferred import Pattern

ROOM = "modelswap"
PACKAGE = Path(__file__).parents[2] / "src" / ROOM


@cache
def imports() -> dict[str, frozenset[str]]:
    """Module -> the modules that it imports."""
    graph = grimp.build_graph(ROOM, exclude_type_checking_imports=False, cache_dir=None)
    return {m: frozenset(graph.find_modules_directly_imported_by(m)) for m in graph.modules}


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Return one circle of the graph, or nothing."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_modules_form_no_circle() -> None:
    """A module that two need of each other is a third module."""
    assert circle({module: set(there) for module, there in imports().items()}) == []


@pytest.mark.parametrize("depth", [2])
def test_packages_form_no_circle(depth: int) -> None:
    """What a package imports does not import it."""
    packages: dict[str, set[str]] = {}
    for module, there in imports().items():
        package = _package(module, depth)
        for other in {_package(name, depth) for name in there} - {package, ROOM}:
            if package != ROOM:
                packages.setdefault(package, set()).add(other)
    assert circle(packages) == []


def _package(module: str, depth: int) -> str:
    return ".".join(module.split(".")[:depth])


def test_patterns_compile() -> None:
    """A pattern is compiled at its first use, so a mistake in one is found here."""
    for name in sorted(imports()):
        if not name.endswith("__main__"):
            for value in vars(import_module(name)).values():
                if isinstance(value, Pattern):
                    assert getattr(value, "pattern")  # noqa: B009 - the compiled one has it


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: file.name)
def test_types_are_prepared_before_threads_decode(file: Path) -> None:
    """A type of our own is decoded by a decoder that is made at import.

    msgspec 0.22 crashes the process when two threads are the first to decode into one type.
    """
    for call in ast.walk(ast.parse(file.read_text())):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
            types = [word.value for word in call.keywords if word.arg == "type"]
            if call.func.attr == "decode" and types:
                assert not _own_types(types[0]), f"{file}:{call.lineno}"


def _own_types(type_: ast.expr) -> set[str]:
    names = {node.id for node in ast.walk(type_) if isinstance(node, ast.Name)}
    return names - {"dict", "list", "str", "int", "float", "bytes", "Any", "object"}
