"""Cleans request paths, shortens them for the upstream, and finds those that lead elsewhere.

Guarantees: a path is never decoded on its way to a model server. It is refused when a program that
decodes it would read another path.
Does not: know routes.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

_UNCLEAN: Final = re.compile(r"//|/\.\.?(?:/|$)")


def is_unclean(path: str) -> bool:
    """Tell whether the path has empty or dotted pieces: there is a shorter spelling."""
    return _UNCLEAN.search(path) is not None


def forwarded_path(path: str) -> str:
    """Return the path that the upstream gets: `/v/x` → `/x`, `/audioapi/x` → `/x`."""
    if path.startswith("/v/"):
        return path[2:]
    return path.removeprefix("/audioapi")


def cleaned(path: str) -> str:
    """Resolve `//`, `/./` and `/../`; percent-encoded ones are not touched."""
    kept: list[str] = []
    for piece in path.split("/"):
        if piece == "..":
            if kept:
                kept.pop()
        elif piece not in {"", "."}:
            kept.append(piece)
    tail = "/" if path.endswith(("/", "/.", "/..")) and kept else ""
    # Browsers read a backslash as a slash: `/\\evil.example` would lead to another site.
    return ("/" + "/".join(kept) + tail).replace("\\", "%5C")


def escapes(path: str) -> bool:
    """Tell whether a path means another one to a program that decodes it first."""
    if "%" not in path and "\\" not in path:
        return False
    plain = unquote(path, errors="replace")
    return "\0" in plain or ".." in re.split(r"[/\\]", plain)
