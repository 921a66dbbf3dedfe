"""The web page and the redirects that lead to it.

Files come from `modelswap/ui` and nowhere else: names are looked up in a
listing made once, never joined to a path.
"""

from __future__ import annotations

import mimetypes
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING
from urllib.parse import unquote

from .call import Call, Refusal, Reply

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob: data:; "
    "style-src 'self' 'unsafe-inline'; connect-src 'self'; object-src 'none'; "
    "base-uri 'none'; frame-ancestors 'none'; form-action 'none'"
)
GUARDS = (
    ("Content-Security-Policy", POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-cache"),
)


def _redirect(to: str, status: int) -> Reply:
    body = f'<a href="{to}">Found</a>.\n\n'.encode()
    return Reply(status, body, "text/html; charset=utf-8", (("Location", to),))


async def root(_: Call) -> Reply:
    return _redirect("/ui", 302)


async def ui_root(_: Call) -> Reply:
    return _redirect("/ui/", 307)


async def upstream_slash(_: Call) -> Reply:
    return _redirect("/upstream/", 307)


async def upstream_root(_: Call) -> Reply:
    return _redirect("/ui/models", 302)  # the page knows this path


@lru_cache(maxsize=1)
def _listing() -> dict[str, Traversable]:
    found: dict[str, Traversable] = {}

    def walk(folder: Traversable, prefix: str) -> None:
        for entry in folder.iterdir():
            if entry.is_dir():
                walk(entry, f"{prefix}{entry.name}/")
            elif not entry.name.endswith((".py", ".pyc")):
                found[prefix + entry.name] = entry

    walk(files("modelswap") / "ui", "")
    return found


@lru_cache(maxsize=256)
def _content(name: str) -> bytes | None:
    entry = _listing().get(name)
    return None if entry is None else entry.read_bytes()


def _file(name: str) -> Reply:
    body = _content(name)
    if body is None:
        raise Refusal(404, "no such file")
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    if kind.startswith("text/") or kind.endswith(("javascript", "json")):
        kind += "; charset=utf-8"
    return Reply(200, body, kind, GUARDS)


async def ui_file(call: Call) -> Reply:
    name = unquote(call.params["name"]) or "index.html"
    if _listing().get(name) is None and "." not in name.rsplit("/", 1)[-1]:
        name = "index.html"  # the page's own routes
    return _file(name)


async def favicon(_: Call) -> Reply:
    return _file("favicon.ico")
