"""The files of the page: how they are served, and that they fit together. Needs no browser."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import modelswap

if TYPE_CHECKING:
    from support.running import StartServer

FOLDER = Path(modelswap.__file__).parent / "ui"
FILES = sorted(path for path in FOLDER.rglob("*") if path.is_file())
KINDS = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/vnd.microsoft.icon",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
MODULES = [path for path in FILES if path.suffix == ".js"]


def test_files_are_served_with_their_kind(modelswap_server: StartServer) -> None:
    """Every file comes whole, with its type, a policy against foreign code, and a tag for next time."""
    server = modelswap_server("models: {}\n")
    for path in FILES:
        answer = server.ask("GET", f"/ui/{path.relative_to(FOLDER)}")
        assert (answer.status, answer.body) == (200, path.read_bytes())
        assert answer.headers["content-type"] == KINDS[path.suffix]
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        tag = {"If-None-Match": answer.headers["etag"]}
        assert server.ask("GET", f"/ui/{path.relative_to(FOLDER)}", headers=tag).status == 304


def test_nothing_else_is_served(modelswap_server: StartServer) -> None:
    """Names with dots that are no files of the page, and ways out of its folder, are not found."""
    server = modelswap_server("models: {}\n")
    for name in ("no.js", "..%2f__init__.py", "%2e%2e/app.py", ".%00.js", "lib/..%2f..%2funits.py"):
        assert server.ask("GET", f"/ui/{name}").status in {400, 404}


def test_modules_import_what_is_there() -> None:
    """Every import names a module of the folder and something that it exports."""
    for path in MODULES:
        text = path.read_text()
        imports = re.findall(r'import \{([^}]*)\} from "(\.[\w./]+)"', text)
        assert len(imports) == len(re.findall(r"^import ", text, re.MULTILINE)), path.name
        for names, module in imports:
            source = (path.parent / module).read_text()
            for name in (each.strip() for each in names.split(",") if each.strip()):
                exported = rf"export (?:async )?(?:function\*?|const|let|class) {name}\b"
                assert re.search(exported, source), f"{path.name}: {name} of {module}"


def test_types_name_what_is_there() -> None:
    """Every type that a comment imports names a module of the page."""
    for path in MODULES:
        for module in re.findall(r'import\("(\.[\w./]+)"\)', path.read_text()):
            assert (path.parent / module).is_file(), f"{path.name}: {module}"


def test_style_sheets_are_all_imported() -> None:
    """The sheet of the page names every other one."""
    imported = re.findall(r'@import "([\w./]+)";', (FOLDER / "style.css").read_text())
    assert sorted(FOLDER / name for name in imported) == sorted((FOLDER / "style").glob("*.css"))


def test_folders_are_short() -> None:
    """A folder holds about ten files at most."""
    folders = {path.parent for path in FILES}
    assert [one for one in folders if len([f for f in FILES if f.parent == one]) > 11] == []


def test_no_module_writes_markup() -> None:
    """Nothing takes text for markup or code: what comes from outside can only be text."""
    banned = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc|DOMParser"
    )
    assert {path.name: banned.findall(path.read_text()) for path in MODULES} == {
        path.name: [] for path in MODULES
    }


def test_the_page_is_small() -> None:
    """All of it is less than 256 KiB, and no module has grown beyond reading."""
    assert sum(path.stat().st_size for path in FILES) < 256 << 10
    assert [path.name for path in MODULES if len(path.read_text().splitlines()) > 400] == []
