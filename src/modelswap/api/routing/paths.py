"""Cleans request paths, shortens them for the upstream, and finds those that lead elsewhere.

Guarantees: a path is never decoded on its way to a model server. It is refused when a program that
decodes it would read another path.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from modelswap.deferred import regex

if TYPE_CHECKING:
    from collections.abc import Iterable

_UNCLEAN: Final = regex(r"//|/\.\.?(?:/|$)")


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
    kept = without_dots(filter(None, path.split("/")))
    tail = "/" if path.endswith(("/", "/.", "/..")) and kept else ""
    # Browsers read a backslash as a slash: `/\\evil.example` would lead to another site.
    return ("/" + "/".join(kept) + tail).replace("\\", "%5C")


def without_dots(segments: Iterable[str]) -> list[str]:
    kept: list[str] = []
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    return kept


def escapes(path: str) -> bool:
    """Tell whether a path means another one to a program that decodes it first."""
    if "%" not in path and "\\" not in path:
        return False
    plain = unquote(path, errors="replace")
    return "\0" in plain or ".." in re.split(r"[/\\]", plain)
