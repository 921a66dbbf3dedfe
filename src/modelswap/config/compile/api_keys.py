"""`apiKeys`: texts, or records with a name, scopes and limits.

Guarantees: a key is in no message, and in the plan only inside `Secret`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Final

from modelswap.config.messages.found_value import FoundValue
from modelswap.config.messages.hints import nearest
from modelswap.config.plan import ApiKey, Secret
from modelswap.config.schema.field_types import values_of
from modelswap.config.schema.schema import ApiKeyKeys, KeyScope
from modelswap.deferred import regex

if TYPE_CHECKING:
    from modelswap.config.messages.diagnostics import Diagnostics
    from modelswap.config.schema.schema import RawApiKey
    from modelswap.config.tree.node import Path

_HASH = regex(r"sha256:[0-9a-f]{64}")
SCOPES: Final = tuple(scope.value for scope in KeyScope)
_LONGEST: Final = 64 << 10
"""Bytes that are read of a key's file: a wrong path may name a large one."""


def api_keys(raw: tuple[str | RawApiKey, ...], diagnostics: Diagnostics) -> tuple[ApiKey, ...]:
    """Return the accepted keys; one without a name is named by its place in the list."""
    found: list[ApiKey] = []
    for index, one in enumerate(raw):
        path: Path = ("apiKeys", index)
        name = f"key-{index + 1}"
        if isinstance(one, str):
            if _is_usable(one, path, diagnostics):
                found.append(ApiKey(name=name, is_named=False, key=Secret(one)))
        else:
            found.append(_record(one, name, path, diagnostics))
    _unique_names(found, diagnostics)
    return tuple(found)


def upstream_key(text: str, path: Path, diagnostics: Diagnostics) -> Secret | None:
    """Return the key that is sent to a model server or a peer; it has to fit into a header."""
    key = text.strip()
    try:
        key.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        diagnostics.problem(path, "a key has to be text")
        return None
    if any(one <= " " or one == "\x7f" for one in key):
        diagnostics.problem(
            path, "expected a key without spaces or control characters; found some in it"
        )
        return None
    return Secret(key) if key else None


def _unique_names(keys: list[ApiKey], diagnostics: Diagnostics) -> None:
    seen: set[str] = set()
    for index, one in enumerate(keys):
        if one.name in seen:
            what = f"expected a name of its own; found {one.name!r} a second time"
            diagnostics.problem(("apiKeys", index), what)
        seen.add(one.name)


def _is_usable(key: str, path: Path, diagnostics: Diagnostics) -> bool:
    if not key:
        diagnostics.problem(path, "expected a key; found an empty text: a key cannot be empty")
    elif " " in key:
        diagnostics.problem(path, "expected a key without spaces; found one that contains a space")
    return bool(key) and " " not in key


def _record(raw: RawApiKey, name: str, path: Path, diagnostics: Diagnostics) -> ApiKey:
    forms = {"key": raw.value, "keyHash": raw.key_hash, "keyFile": raw.key_file}
    given = [name for name, value in forms.items() if value]
    if len(given) != 1:
        seen = " and ".join(given) or "none"
        diagnostics.problem(path, f"expected exactly one of key, keyHash, keyFile; found {seen}")
    secret = raw.value
    if raw.key_file:
        secret = _from_file(raw.key_file, (*path, "keyFile"), diagnostics)
    is_usable = not secret or _is_usable(secret, path, diagnostics)
    key_hash = raw.key_hash.lower()
    if key_hash and not _HASH.fullmatch(key_hash):
        diagnostics.expected((*path, "keyHash"), "sha256: and 64 hexadecimal digits")
    scopes = SCOPES if raw.scopes is None else raw.scopes
    for scope in scopes:
        if scope not in SCOPES:
            expected = f"expected one of {', '.join(SCOPES)}"
            hint = nearest(scope, SCOPES)
            diagnostics.problem((*path, "scopes"), expected, hint, seen=FoundValue("", scope))
    return ApiKey(
        name=raw.name.strip() or name,
        is_named=bool(raw.name.strip()),
        key=Secret(secret) if secret and is_usable else None,
        key_hash=key_hash or None,
        scopes=frozenset(scopes),
        expires=_expires(raw.expires, (*path, "expires"), diagnostics),
        **values_of(raw, ApiKeyKeys),
    )


def _from_file(file: str, path: Path, diagnostics: Diagnostics) -> str:
    """Read a key; the path is relative to the working directory, as `store.path` is."""
    try:
        with FilePath(file).open(encoding="utf-8") as stream:
            key = stream.read(_LONGEST).strip()
    except (OSError, ValueError) as failure:
        reason = getattr(failure, "strerror", None) or "not a readable text"
        what = f"expected a file that can be read ({reason})"
        diagnostics.problem(path, what, seen=FoundValue("", file))
        return ""
    if not key:
        diagnostics.problem(path, "expected a file that holds a key; found an empty one")
    return key


def _expires(text: str, path: Path, diagnostics: Diagnostics) -> str | None:
    """Return the time in RFC 3339 and UTC; a date alone means its beginning."""
    if not text:
        return None
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        diagnostics.expected(path, "a date or time such as 2027-01-31T12:00:00Z")
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return when.astimezone(UTC).isoformat().replace("+00:00", "Z")
