"""What the documents name in code exists under that name."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from modelswap.cli.terminal import COMMANDS

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
_CODE = re.compile(r"`([^`\n]+)`")
_DOTTED = re.compile(r"([A-Za-z_]\w*(?:/\w+)*?)(?:\.py)?[. ]([A-Za-z_]\w+)")
_FILE = re.compile(r"[a-z_]+(?:/[a-z_0-9]+)*\.py")
FILE_ENDINGS = {"py", "yaml", "json", "lock", "id", "log", "sock", "db", "damaged"}
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


@cache
def definitions() -> dict[str, set[str]]:
    """Names by where they are defined: a package, a module, or a class with what it inherits."""
    found: dict[str, set[str]] = {}
    classes: dict[str, tuple[set[str], set[str]]] = {}
    package = ROOT / "src" / "modelswap"
    for path in sorted(package.rglob("*.py")):
        tree = ast.parse(path.read_text())
        inside = _targets(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                members = _targets(node)
                bases = {base.id for base in node.bases if isinstance(base, ast.Name)}
                same = classes.setdefault(node.name, (set(), set()))
                same[0].update(members)
                same[1].update(bases)
                inside |= members
            elif isinstance(node, ast.ImportFrom):
                inside |= {alias.asname or alias.name for alias in node.names}
        if path.stem == "__init__":
            names = [path.parent.name]
            inside |= {child.stem for child in path.parent.iterdir()}
        else:
            names = [path.stem, str(path.relative_to(package).with_suffix(""))]
        for name in names:
            found.setdefault(name, set()).update(inside)
    for name in classes:
        found.setdefault(name, set()).update(_inherited(name, classes))
    return found


def _inherited(name: str, classes: dict[str, tuple[set[str], set[str]]]) -> set[str]:
    members, bases = classes.get(name, (set(), set()))
    return members.union(*(_inherited(base, classes) for base in bases))


@cache
def other_words() -> set[str]:
    """Return what looks like a name in code and is none: keys of the configuration, commands, files."""
    keys = set(_CODE.findall((ROOT / "docs" / "configuration.md").read_text()))
    keys |= {key.removeprefix("modelswap ") for key in keys}
    keys |= {f"routing.{part}" for part in ("router", "scheduler")}
    return keys | {f"modelswap {command}" for command in [*COMMANDS, "FILE"]}


def _targets(node: ast.Module | ast.ClassDef) -> set[str]:
    names: set[str] = set()
    for child in node.body:
        match child:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                names.add(name)
            case ast.ClassDef(name=name):
                names.add(name)
            case ast.Assign(targets=targets):
                names |= {t.id for t in targets if isinstance(t, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
            case _:
                pass
    return names


def stale_names(text: str) -> list[str]:
    """Return what is written as `module.name`, `Class.name` or `file.py name` and does not exist."""
    known = definitions()
    stale: list[str] = []
    for code in set(_CODE.findall(text)) - other_words():
        found = _DOTTED.fullmatch(code)
        if (
            found is not None
            and found[1] in known
            and found[2] not in known[found[1]] | FILE_ENDINGS
        ):
            stale.append(code)
    return stale


def missing_files(text: str) -> list[str]:
    """Return the Python files that a text names and the tree does not hold."""
    files = [str(path.relative_to(ROOT)) for path in ROOT.glob("[stb]*/**/*.py")]
    named = {name for code in _CODE.findall(text) for name in _FILE.findall(code)}
    return sorted(
        name for name in named if not any(f"/{file}".endswith(f"/{name}") for file in files)
    )


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_document_names_exists(path: Path) -> None:
    """A renamed function, class or file is renamed in the documents, too."""
    text = path.read_text()
    assert stale_names(text) == []
    assert missing_files(text.replace("F/test_", "tests/system/faults/test_")) == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_stays_inside_and_leads_somewhere(path: Path) -> None:
    """Whoever has the repository can follow each relative link; a path out of it is a dead end."""
    text = path.read_text()
    for target in _LINK.findall(text):
        if "://" not in target:
            there = (path.parent / target).resolve()
            assert there.is_relative_to(ROOT), target
            assert there.exists(), target
    assert "../shared" not in text


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_table_is_whole(path: Path) -> None:
    """A row stands below a head and its rule: a paragraph in between would end the table."""
    previous = ""
    in_table = False
    for line in path.read_text().splitlines():
        is_row = line.startswith("|")
        if is_row and not in_table:
            in_table = re.fullmatch(r"\|[ :|-]+\|", line) is not None and previous.startswith("|")
            assert in_table or not previous.startswith("|"), line
        if not is_row:
            assert in_table or not previous.startswith("|"), previous
            in_table = False
        previous = line
