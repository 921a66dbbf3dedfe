"""Makes the `Location` of the program's own redirects.

Guarantees: a redirect stays on the host that the client named, and below the path prefix of a reverse
proxy: it is relative to the request's path, or begins with the prefix that a trusted proxy names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelswap.api.hosts.trusted_proxies import forwarded_prefix

from .paths import is_unclean, without_dots

if TYPE_CHECKING:
    from modelswap.api.hosts.trusted_proxies import TrustedProxies
    from modelswap.http import Request


def location(request: Request, to: str, proxies: TrustedProxies) -> str:
    """Return the `Location` that leads from the request to the absolute path `to`, with its query."""
    prefix = forwarded_prefix(request, proxies)
    path = prefix + to if prefix else relative(request.path, to)
    return f"{path}?{request.query}" if request.query else path


def relative(base: str, to: str) -> str:
    """Write the clean absolute path `to` as a relative reference (RFC 3986, 4.2) from `base`.

    A base with empty or dotted segments is left up to the root: programs differ
    in how they count such segments, and all of them stop at the root.
    """
    folder = base.split("/")[1:-1]
    wanted = to[1:].split("/")
    shared = 0
    if is_unclean(base):
        folder = without_dots(folder)  # empty segments count, as RFC 3986 counts them
    else:
        while shared < min(len(folder), len(wanted) - 1) and folder[shared] == wanted[shared]:
            shared += 1
    reference = "../" * (len(folder) - shared) + "/".join(wanted[shared:])
    if not reference or ":" in reference.partition("/")[0]:
        reference = "./" + reference  # "a:b" alone would be read as a scheme
    return reference.replace("\\", "%5C")  # browsers read a backslash as a slash
