"""The files of the page: how they are served, and that they fit together. Needs no browser."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import modelswap

if TYPE_CHECKING:
    from support.running import StartServer

FOLDER = Path(modelswap.__file__).parent / "ui"
FILES = sorted(path for path in FOLDER.iterdir() if path.is_file())
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
        answer = server.ask("GET", f"/ui/{path.name}")
        assert (answer.status, answer.body) == (200, path.read_bytes())
        assert answer.headers["content-type"] == KINDS[path.suffix]
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        tag = {"If-None-Match": answer.headers["etag"]}
        assert server.ask("GET", f"/ui/{path.name}", headers=tag).status == 304


def test_nothing_else_is_served(modelswap_server: StartServer) -> None:
    """Names with dots that are no files of the page, and ways out of its folder, are not found."""
    server = modelswap_server("models: {}\n")
    for name in ("no.js", "..%2f__init__.py", "%2e%2e/app.py", ".%00.js"):
        assert server.ask("GET", f"/ui/{name}").status in {400, 404}


def test_modules_import_what_is_there() -> None:
    """Every import names a module of the folder and something that it exports."""
    for path in MODULES:
        for names, module in re.findall(r'import \{([^}]*)\} from "\./([\w.]+)"', path.read_text()):
            source = (FOLDER / module).read_text()
            for name in (each.strip() for each in names.split(",") if each.strip()):
                exported = rf"export (?:async )?(?:function\*?|const|let|class) {name}\b"
                assert re.search(exported, source), f"{path.name}: {name} of {module}"


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
