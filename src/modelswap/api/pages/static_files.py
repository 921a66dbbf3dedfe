"""The files of the web page, and redirects to it.

Guarantees: files come from `modelswap/ui` and nowhere else: names are looked up in a list that is made
once, never joined to a path.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from modelswap.api.control.control_request import ControlError, ControlRequest, Reply
from modelswap.digest import sha256

if TYPE_CHECKING:
    from collections.abc import Iterator

    from modelswap.api.control.control_request import Handler, StreamReply
    from modelswap.http import Request

UI_FOLDER: Final = Path(__file__).parents[2] / "ui"
POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob: data:; "
    "style-src 'self' 'unsafe-inline'; connect-src 'self'; object-src 'none'; "
    "base-uri 'none'; frame-ancestors 'none'; form-action 'none'"
)
NO_FRAMES = (
    ("X-Frame-Options", "DENY"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
"""Pages of other origins, also of model servers, cannot show this page in a frame or a window."""
SECURITY_HEADERS = (
    ("Content-Security-Policy", POLICY),
    *NO_FRAMES,
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-cache"),
)
KINDS: Final = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "ico": "image/vnd.microsoft.icon",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
"""Not looked up in the system: some call JavaScript plain text, and browsers do not run that."""
PAGE_HEADER: Final = b"x-modelswap-page"
"""The header that the page sends with each request of its own."""


def is_page_poll(request: Request, status: int, folder: str) -> bool:
    """Tell whether the page only refreshes itself: a successful read, or one of its files.

    The first document (*folder* itself), every change and every failure are not polls.
    """
    if request.method not in {"GET", "HEAD"} or status >= 400:  # noqa: PLR2004 -- client errors begin
        return False
    if request.header(PAGE_HEADER) is not None:
        return True
    return request.path.startswith(folder) and "." in request.path.rsplit("/", 1)[-1]


def redirect(to: str, status: int) -> Handler:
    """Return a handler that leads to another path."""
    reply = Reply(status, b"", KINDS["html"], (*NO_FRAMES, ("Location", to)))

    async def handler(_: ControlRequest) -> Reply:
        return reply

    return handler


def redirect_browsers(to: str, handler: Handler) -> Handler:
    """Return a handler that leads a browser to a page, and replies to others as *handler* does."""
    reply = Reply(302, b"", KINDS["html"], (("Location", to),))

    async def either(request: ControlRequest) -> Reply | StreamReply:
        return reply if "text/html" in request.header("accept") else await handler(request)

    return either


@lru_cache(maxsize=1)
def _listing() -> dict[str, Path]:
    def walk(folder: Path, prefix: str) -> Iterator[tuple[str, Path]]:
        for entry in folder.iterdir():
            if entry.is_dir():
                yield from walk(entry, f"{prefix}{entry.name}/")
            elif not entry.name.endswith((".py", ".pyc")):
                yield prefix + entry.name, entry

    return dict(walk(UI_FOLDER, ""))


@lru_cache(maxsize=256)  # more than the page has files
def _content(name: str) -> tuple[bytes, str] | None:
    """Return a file and its entity tag."""
    entry = _listing().get(name)
    if entry is None:
        return None
    body = entry.read_bytes()
    return body, f'"{sha256(body).hexdigest()[:16]}"'


def _file(request: ControlRequest, name: str) -> Reply:
    found = _content(name)
    if found is None:
        raise ControlError(404, "no such file")
    body, tag = found
    headers = (*SECURITY_HEADERS, ("ETag", tag))
    kind = KINDS.get(name.rpartition(".")[2], "application/octet-stream")
    is_known = tag in request.header("if-none-match")
    return Reply(304 if is_known else 200, b"" if is_known else body, kind, headers)


async def ui_file(request: ControlRequest) -> Reply:
    name = unquote(request.params["name"]) or "index.html"
    if name not in _listing() and "." not in name.rsplit("/", 1)[-1]:
        name = "index.html"  # the page's own routes
    return _file(request, name)


async def favicon(request: ControlRequest) -> Reply:
    return _file(request, "favicon.ico")
