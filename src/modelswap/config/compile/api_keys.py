"""`apiKeys`: texts, or records with a name, scopes and limits.

Law: a key is in no message, and in the plan only inside `Secret`.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Final

from modelswap.config.messages.found import FoundValue
from modelswap.config.messages.hints import nearest
from modelswap.config.plan import ApiKey, KeyScope, Secret

if TYPE_CHECKING:
    from modelswap.config.messages.diagnostics import Diagnostics
    from modelswap.config.schema.schema import RawApiKey
    from modelswap.config.source.node import Path

_HASH = re.compile(r"sha256:[0-9a-f]{64}")
SCOPES: Final = tuple(scope.value for scope in KeyScope)
_LONGEST: Final = 64 << 10


def api_keys(raw: tuple[str | RawApiKey, ...], places: Diagnostics) -> tuple[ApiKey, ...]:
    """The accepted keys; one without a name of its own is called by its place in the list."""
    found: list[ApiKey] = []
    for index, one in enumerate(raw):
        path: Path = ("apiKeys", index)
        name = f"key-{index + 1}"
        if isinstance(one, str):
            if _is_usable(one, path, places):
                found.append(ApiKey(name=name, is_named=False, key=Secret(one)))
        else:
            found.append(_record(one, name, path, places))
    _unique_names(found, places)
    return tuple(found)


def upstream_key(text: str, path: Path, places: Diagnostics) -> Secret | None:
    """The key that is sent to a model server or a peer; it has to fit into a header."""
    key = text.strip()
    try:
        key.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        places.problem(path, "a key has to be text")
        return None
    if any(one <= " " or one == "\x7f" for one in key):
        places.problem(
            path, "expected a key without spaces or control characters; found some in it"
        )
        return None
    return Secret(key) if key else None


def _unique_names(keys: list[ApiKey], places: Diagnostics) -> None:
    seen: set[str] = set()
    for index, one in enumerate(keys):
        if one.name in seen:
            what = f"expected a name of its own; found {one.name!r} a second time"
            places.problem(("apiKeys", index), what)
        seen.add(one.name)


def _is_usable(key: str, path: Path, places: Diagnostics) -> bool:
    if not key:
        places.problem(path, "expected a key; found an empty text: a key cannot be empty")
    elif " " in key:
        places.problem(path, "expected a key without spaces; found one that contains a space")
    return bool(key) and " " not in key


def _record(raw: RawApiKey, name: str, path: Path, places: Diagnostics) -> ApiKey:
    forms = {"key": raw.value, "keyHash": raw.key_hash, "keyFile": raw.key_file}
    given = [name for name, value in forms.items() if value]
    if len(given) != 1:
        seen = " and ".join(given) or "none"
        places.problem(path, f"expected exactly one of key, keyHash, keyFile; found {seen}")
    secret = raw.value
    if raw.key_file:
        secret = _from_file(raw.key_file, (*path, "keyFile"), places)
    is_usable = not secret or _is_usable(secret, path, places)
    key_hash = raw.key_hash.lower()
    if key_hash and not _HASH.fullmatch(key_hash):
        places.expected((*path, "keyHash"), "sha256: and 64 hexadecimal digits")
    scopes = SCOPES if raw.scopes is None else raw.scopes
    for scope in scopes:
        if scope not in SCOPES:
            expected = f"expected one of {', '.join(SCOPES)}"
            hint = nearest(scope, SCOPES)
            places.problem((*path, "scopes"), expected, hint, seen=FoundValue("", scope))
    return ApiKey(
        name=raw.name.strip() or name,
        is_named=bool(raw.name.strip()),
        key=Secret(secret) if secret and is_usable else None,
        key_hash=key_hash or None,
        scopes=frozenset(scopes),
        models=raw.models,
        rate_limit=raw.rate_limit,
        expires=_expires(raw.expires, (*path, "expires"), places),
        background=raw.background,
        no_swap=raw.no_swap,
    )


def _from_file(file: str, path: Path, places: Diagnostics) -> str:
    """Read a key; the path is relative to the working directory, as `store.path` is."""
    try:
        with FilePath(file).open(encoding="utf-8") as stream:
            key = stream.read(_LONGEST).strip()
    except (OSError, ValueError) as failure:
        reason = getattr(failure, "strerror", None) or "not a readable text"
        what = f"expected a file that can be read ({reason})"
        places.problem(path, what, seen=FoundValue("", file))
        return ""
    if not key:
        places.problem(path, "expected a file that holds a key; found an empty one")
    return key


def _expires(text: str, path: Path, places: Diagnostics) -> str | None:
    """The moment in RFC 3339, in UTC; a date alone is its first moment."""
    if not text:
        return None
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        places.expected(path, "a date or time such as 2027-01-31T12:00:00Z")
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return when.astimezone(UTC).isoformat().replace("+00:00", "Z")
