"""Finds keys in a request: `Authorization`, `x-api-key`, `api-key`, a WebSocket subprotocol.

Guarantees: a configured key is recognised in any of these fields, also in a form that is not accepted
(`Authorization: Token KEY`), so that it is not sent upstream. The query is not read: it is logged.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from modelswap.http import Field, Request

_AUTHORIZATION: Final = b"authorization"
_SUBPROTOCOLS: Final = b"sec-websocket-protocol"
_SUBPROTOCOL_KEY: Final = b"openai-insecure-api-key."
"""Browsers cannot set headers on a WebSocket: OpenAI's clients send the key as a subprotocol."""
HEADERS: Final = frozenset({_AUTHORIZATION, b"x-api-key", b"api-key"})
"""Fields that are credentials and nothing else. `api-key` is Azure's."""
_MARKS: Final = b",;\"'"
"""What lists and quotes put around a key."""
_PLACES: Final = (_AUTHORIZATION, b"x-api-key", b"api-key", _SUBPROTOCOLS)
"""In the order in which keys are looked for."""


def keys_of(request: Request) -> Iterator[bytes]:
    """Give every key that the request carries in a form that counts, in the order of the places."""
    index = request.index
    for place in _PLACES:
        if place not in index or (place is _SUBPROTOCOLS and not request.upgrade):
            continue
        for value in request.header_values(place):
            yield from keys_in(place, value)


def keys_in(place: bytes, value: bytes) -> Iterator[bytes]:
    """Give the keys of one field: Basic's password, Bearer's token, or the value itself."""
    if place == _AUTHORIZATION:
        scheme, _, rest = value.partition(b" ")
        match scheme.lower():
            case b"basic" if key := _basic(rest)[1]:
                yield key
            case b"bearer" if key := rest.strip(b" "):
                yield key
            case _:
                pass
    elif place == _SUBPROTOCOLS:
        for token in _tokens(value):
            if token.startswith(_SUBPROTOCOL_KEY):
                yield token.removeprefix(_SUBPROTOCOL_KEY)
    elif value:
        yield value


def without_keys(fields: Iterable[Field], is_ours: Callable[[bytes], bool]) -> list[Field]:
    """Leave out each credential that `is_ours`; a subprotocol goes, the others beside it stay."""
    kept: list[Field] = []
    for field in fields:
        name, value = field
        place = name.lower()
        if place == _SUBPROTOCOLS:
            left = _without_subprotocol(value, is_ours)
            if left == value:
                kept.append(field)
            elif left:
                kept.append((name, left))
        elif place not in HEADERS or not any(map(is_ours, _anything_in(value))):
            kept.append(field)
    return kept


def without_any(fields: Iterable[Field]) -> list[Field]:
    """Leave out every credential, for an upstream that gets one of its own."""
    return without_keys(
        (field for field in fields if field[0].lower() not in HEADERS), lambda _: True
    )


def _without_subprotocol(value: bytes, is_ours: Callable[[bytes], bool]) -> bytes:
    tokens = _tokens(value)
    kept = [
        token
        for token in tokens
        if not token.startswith(_SUBPROTOCOL_KEY)
        or not is_ours(token.removeprefix(_SUBPROTOCOL_KEY))
    ]
    return value if len(kept) == len(tokens) else b", ".join(kept)


def _anything_in(value: bytes) -> Sequence[bytes]:
    """Give whatever in a field could be a key, however it was meant."""
    words = value.split()
    bare = [word.strip(_MARKS) for word in words]
    return [value, *words, *bare, *_basic(value.partition(b" ")[2])]


def _tokens(value: bytes) -> list[bytes]:
    return [token for part in value.split(b",") if (token := part.strip(b" \t"))]


def _basic(encoded: bytes) -> tuple[bytes, bytes]:
    """User and password; both empty when it is not Basic's encoding."""
    try:
        user, _, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
    except binascii.Error:
        return b"", b""
    return user, password
