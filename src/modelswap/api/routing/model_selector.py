"""Finds the model that a request names, and whether the client wants an event stream.

Guarantees: only the top level of a JSON body counts, and its tree is never built. A body that two
programs could read differently (two `model` keys, broken JSON, invalid UTF-8) is refused.
Does not: read multipart bodies (`http.body.forms`).
"""

from __future__ import annotations

import threading
from enum import Enum, auto
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_plus

import msgspec

from modelswap.core.naming.jsonpath import NotApplicableError, UnreadableError, keys_of
from modelswap.deferred import regex
from modelswap.errors import BadRequestError, BodyTooLargeError, NotFoundError
from modelswap.units import Bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

NO_MODEL: Final = "no model id could be identified"
_TWO_MODELS: Final = "the request body has more than one 'model'"
_SPARSE: Final = 2000
"""Up to so many quotes in a body are looked at one by one, which beats a search for longer text."""
_BIG: Final = Bytes(64 << 10)
"""From here on long strings are skipped before JSON is read: the search then costs less."""
_SMALL: Final = Bytes(4 << 10)
"""Up to here one decoding without a count of the keys is faster than the general way."""
_LONG: Final = Bytes(4 << 10)
"""A string that is worth skipping: the cut costs about as much as reading this."""
_BACKSLASH: Final = ord("\\")
MOST_FORM: Final = Bytes(1 << 20)
"""An urlencoded body is read with a pattern, on the loop: no more of it than this."""
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
"""UTF-8's byte order mark, which some programs on Windows put before JSON."""
MOST_NAME: Final = 1024
"""Characters of a model's name: it goes into responses, logs and records."""
_KEY = b'"model"'
_ANY_SPELLING = regex(
    rb'"(?:m|\\u006[dD])(?:o|\\u006[fF])(?:d|\\u0064)(?:e|\\u0065)(?:l|\\u006[cC])"'
)
_PAIR = regex(
    r"(?:(?<=&)|^)(?:"
    r"((?:m|%6[dD])(?:o|%6[fF])(?:d|%64)(?:e|%65)(?:l|%6[cC]))"
    r"|((?:s|%73)(?:t|%74)(?:r|%72)(?:e|%65)(?:a|%61)(?:m|%6[dD])))"
    r"(?:=([^&]*+))?(?=&|$)"
)


class NameLocation(Enum):
    """Where the name is, and where it has to be rewritten."""

    QUERY = auto()
    JSON = auto()
    MULTIPART = auto()
    FORM = auto()
    PATH = auto()
    """Below `/upstream/<model>`: the body and the query need not name it."""


class NamedModel(msgspec.Struct, frozen=True, gc=False):
    model: str
    stream: bool
    source: NameLocation


class _Seen(threading.local):
    """The top-level names that one decoding met, in each thread its own."""

    def __init__(self) -> None:
        self.names: list[str] = []


_seen = _Seen()


class _Name(Enum):
    """Any string: the decoder asks `_missing_` for each, so that duplicate keys are seen."""

    ANY = "\0"

    @classmethod
    def _missing_(cls, value: object) -> _Name:
        _seen.names.append(str(value))
        return cls.ANY


class _Fast(msgspec.Struct):
    model: _Name = _Name.ANY
    stream: bool = False


class PlainBody(msgspec.Struct, gc=False):
    """What an ordinary JSON body names."""

    model: str = ""
    stream: bool = False


class _Slow(msgspec.Struct):
    model: msgspec.Raw = msgspec.Raw(b"null")
    stream: msgspec.Raw = msgspec.Raw(b"false")


_fast = msgspec.json.Decoder(_Fast)
_plain = msgspec.json.Decoder(PlainBody).decode
_slow = msgspec.json.Decoder(_Slow)
_raw_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


def is_marked(body: bytes) -> bool:
    """Tell whether a body begins with one byte order mark; two marks are not JSON."""
    return body.startswith(BYTE_ORDER_MARK) and not body[3:].startswith(BYTE_ORDER_MARK)


def source_of(method: str, content_type: str | None) -> NameLocation:
    """Return where to look first; a `FORM` may still turn out to be JSON without its type."""
    if method == "GET":
        return NameLocation.QUERY
    kind = content_type.lower() if content_type else ""
    if "json" in kind:
        return NameLocation.JSON
    return NameLocation.MULTIPART if "multipart/form-data" in kind else NameLocation.FORM


def find(method: str, content_type: str | None, query: str, body: bytes) -> NamedModel:
    """Find the model of a request that is not multipart (see `find_in_multipart` for those)."""
    match source_of(method, content_type):
        case NameLocation.JSON:
            return find_in_json(body)
        case NameLocation.FORM if body and method != "HEAD":
            return _in_body(content_type, query, body)
        case _:
            return _required(_in_pairs(query, NameLocation.QUERY))


def plain_json(body: bytes) -> PlainBody | None:
    """Read an ordinary small body in one step; `None`: it needs `find_in_json`."""
    if len(body) >= _SMALL or body.count(_KEY) != 1 or body.find(b"\\u00") >= 0:
        return None  # (`in` raises and catches a TypeError first)
    try:  # one key at most: nothing to count
        plain = _plain(body)
    except (ValueError, RecursionError):
        return None
    return plain if body.isascii() or _is_utf8(body) else None


def find_in_json(body: bytes) -> NamedModel:
    plain = plain_json(body)
    if plain is None:
        found = _in_json(body)
    else:
        found = NamedModel(plain.model, plain.stream, NameLocation.JSON)
    if not found.model:
        raise NotFoundError(NO_MODEL)
    return found


def find_in_multipart(query: str, fields: Mapping[str, str]) -> NamedModel:
    """Find the model of a form whose fields were read elsewhere: the query comes first."""
    asked = _in_pairs(query, NameLocation.QUERY)
    stream = asked.stream or fields.get("stream") == "true"
    if asked.model:
        return NamedModel(asked.model, stream, NameLocation.QUERY)
    return _required(NamedModel(fields.get("model", ""), stream, NameLocation.MULTIPART))


def may_name_in_query(method: str, content_type: str | None) -> bool:
    """Tell whether the name is in the query unless the body is a JSON object."""
    source = source_of(method, content_type)
    urlencoded = content_type is not None and "urlencoded" in content_type.lower()
    return source is NameLocation.QUERY or (source is NameLocation.FORM and not urlencoded)


def names_in_query(query: str) -> list[str]:
    """Return every `model` of a query, though only the first counts."""
    if "=" not in query:
        return []
    return [unquote_plus(f.group(3) or "") for f in _PAIR.finditer(query) if f.group(1)]


def raw_values(text: bytes) -> Mapping[str, bytes] | None:
    """Read an object's raw values at C speed (the `RawValues` of `core.naming.jsonpath`)."""
    try:
        return {key: bytes(raw) for key, raw in _raw_object.decode(text).items()}
    except (ValueError, RecursionError):
        return None


def _required(found: NamedModel) -> NamedModel:
    if not found.model:
        raise NotFoundError(NO_MODEL)
    return found


def _in_body(content_type: str | None, query: str, body: bytes) -> NamedModel:
    """Read a body of another type: JSON that does not say so, else an urlencoded form."""
    problem: BadRequestError | None = None
    if body.lstrip(b" \t\r\n")[:1] == b"{":
        try:
            found = _in_json(body)
        except BadRequestError as error:
            problem = error
            found = NamedModel("", stream=False, source=NameLocation.JSON)
        if found.model:
            return found
    if content_type and "urlencoded" in content_type.lower():
        if len(body) > MOST_FORM:
            raise BodyTooLargeError("the form is too large")
        found = _in_pairs(body.decode("utf-8", "replace"), NameLocation.FORM, one_only=True)
        if found.model:
            return found
    found = _in_pairs(query, NameLocation.QUERY)
    if not found.model and problem is not None:
        raise problem
    return _required(found)


def _in_pairs(text: str, source: NameLocation, *, one_only: bool = False) -> NamedModel:
    model: str | None = None
    stream: str | None = None
    # Not all pairs are taken apart: a hostile form has a hundred million of them.
    for found in _PAIR.finditer(text):
        value = found.group(3) or ""
        if not found.group(1):
            stream = value if stream is None else stream
        elif model is None:
            model = value
        elif one_only and model != value:
            raise BadRequestError("the form has more than one model")
    return NamedModel(unquote_plus(model or ""), unquote_plus(stream or "") == "true", source)


def _in_json(body: bytes) -> NamedModel:
    if not body:
        return NamedModel("", stream=False, source=NameLocation.JSON)
    if len(body) > _BIG:
        body = _without_long_strings(body)
    names = _seen.names
    names.clear()
    try:
        stream = _fast.decode(body).stream
    except msgspec.ValidationError:
        found = _unusual(body)
    except RecursionError:
        raise BadRequestError("the JSON body is nested too deeply") from None
    except ValueError as error:
        raise BadRequestError(f"the request body is not valid JSON: {_said(error, body)}") from None
    else:
        if len(names) > 1:
            raise BadRequestError(_TWO_MODELS)
        found = NamedModel(names[0] if names else "", stream, NameLocation.JSON)
    if not (body.isascii() or _is_utf8(body)):
        raise BadRequestError("the request body is not valid UTF-8")
    return found


def _without_long_strings(body: bytes) -> bytes:
    """Leave out what stands between far-apart quotes: an image, a document.

    Searching for a quote goes at memory speed, reading JSON does not. Outside of strings a quote
    can only begin one, so the rest reads as before. A text with many quotes is returned as it is.
    """
    find = body.find
    budget = len(body) >> 9
    kept: list[bytes] = []
    since = 0
    start = find(b'"')
    while start >= 0 and budget > 0:
        end = find(b'"', start + 1)
        while end > 0 and _is_escaped(body, end):
            budget -= 1
            end = find(b'"', end + 1) if budget > 0 else -1
        if end < 0:
            return body
        if end - start > _LONG:
            kept.append(body[since : start + 1])
            since = end
        budget -= 1
        start = find(b'"', end + 1)
    if budget <= 0 or not kept:
        return body
    return b"".join([*kept, body[since:]])


def _is_escaped(body: bytes, at: int) -> bool:
    before = at - 1
    while body[before] == _BACKSLASH:
        before -= 1
    return (at - before) % 2 == 0


def _said(error: ValueError, body: bytes) -> str:
    """Give the place, never the bytes, of what is wrong."""
    if body[:2] in {b"\xff\xfe", b"\xfe\xff"} or b"\0" in body[:4]:
        return "it is UTF-16 or UTF-32, not UTF-8"
    if isinstance(error, UnicodeDecodeError):
        return "invalid UTF-8"
    return str(error).removeprefix("JSON is malformed: ")


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _unusual(body: bytes) -> NamedModel:
    """Read a model that is no string, a stream that is no boolean, or a body that is no object."""
    try:
        slow = _slow.decode(body)
    except msgspec.ValidationError:
        return NamedModel("", stream=False, source=NameLocation.JSON)
    except (ValueError, RecursionError):
        raise BadRequestError("the request body is not valid JSON") from None
    _refuse_duplicates(body)
    return NamedModel(_text(bytes(slow.model)), bytes(slow.stream) == b"true", NameLocation.JSON)


def _text(raw: bytes) -> str:
    """Spell a scalar as a name; objects, arrays and null name nothing."""
    if raw[:1] in (b"{", b"[", b"n"):
        return ""
    if raw in (b"true", b"false"):
        return raw.decode()
    try:
        value = msgspec.json.decode(raw)
    except ValueError:
        raise BadRequestError("the request body is not valid JSON") from None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _spellings(body: bytes) -> int:
    """Count what could be a `model` key, at any level, however its letters are escaped."""
    if len(body) > _BIG and (counted := _count_sparse(body)) is not None:
        return counted
    if b"\\u00" in body:
        return sum(1 for _ in _ANY_SPELLING.finditer(body))
    return body.count(_KEY)


def _count_sparse(body: bytes) -> int | None:
    """Look at each quote of a body that has few; `None`: it has many."""
    found = 0
    at = -1
    for _ in range(_SPARSE):
        at = body.find(b'"', at + 1)
        if at < 0:
            return found
        if _ANY_SPELLING.match(body, at):
            found += 1
    return None


def only_model_key(body: bytes) -> int | None:
    """Return where the only `model` key of a text ends, if there is exactly one at any level.

    In a body that `find_in_json` accepted, that is the top-level one.
    """
    if _spellings(body) != 1:
        return None
    at = body.find(_KEY)
    if at >= 0:
        return at + len(_KEY)
    found = _ANY_SPELLING.search(body)
    return found.end() if found else None


def _refuse_duplicates(body: bytes) -> None:
    if _spellings(body) <= 1:
        return
    try:
        keys = keys_of(body, raw_values)
    except NotApplicableError:
        return
    except UnreadableError as error:
        raise BadRequestError(f"the request body cannot be read: {error}") from None
    if keys.count("model") > 1:
        raise BadRequestError(_TWO_MODELS)
