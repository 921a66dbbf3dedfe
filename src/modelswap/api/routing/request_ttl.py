"""For how long a request asks to keep its model loaded after its end. Imported for the first one that may ask.

The forms are Ollama's: seconds as a number, or a text such as `5m` or `1h30m`; negative: for ever; 0: not
at all. A number may be a text, too, as in a header.
"""

from __future__ import annotations

from math import inf, isnan
from typing import Final

import msgspec

from modelswap.config.schema.quantities import seconds
from modelswap.errors import BadRequestError
from modelswap.units import Seconds

FOR_EVER: Final = Seconds(inf)
_LONGEST: Final = Seconds(100 * 365 * 86_400.0)
"""A century: what is longer is for ever, so that each time has a date."""
_NULL: Final = msgspec.Raw(b"null")
_MOST_SHOWN: Final = 40
"""Characters of a wrong value in the error: more than any right one has."""
_EXPECTED: Final = "expected seconds, a duration such as 5m or 1h30m, a negative one for ever, or 0 to unload the model"


def in_header(value: bytes) -> Seconds:
    """Read `X-Modelswap-TTL`; raise BadRequestError for what is no time."""
    text = value.decode("latin-1").strip()
    return _read("X-Modelswap-TTL", text, text)


class _Lifetime(msgspec.Struct, gc=False):
    keep_alive: msgspec.Raw = _NULL
    ttl: msgspec.Raw = _NULL


_lifetime = msgspec.json.Decoder(_Lifetime)


def in_body(body: bytes) -> Seconds | None:
    """Read `keep_alive`, else `ttl`, of a body that names a model; raise BadRequestError for what is no time."""
    try:
        found = _lifetime.decode(body)
    except (ValueError, RecursionError):
        return None  # inside a long string, which nobody has read yet; the model server will say it
    for name, raw in (("keep_alive", found.keep_alive), ("ttl", found.ttl)):
        try:
            value = msgspec.json.decode(raw)
        except (ValueError, RecursionError):
            value = False  # a number that is too large, or not valid in another way
        if value is not None:
            return _read(name, value, bytes(raw).decode("utf-8", "replace"))
    return None


def _read(name: str, value: object, shown: str) -> Seconds:
    time = None
    if isinstance(value, str):
        time = seconds(value.strip())
        if time is None:
            time = _number(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        time = float(value)
    if time is None or isnan(time):
        if len(shown) > _MOST_SHOWN:
            shown = f"{shown[:_MOST_SHOWN]}…"
        raise BadRequestError(f"{name}: {_EXPECTED}; found {shown}")
    return FOR_EVER if time < 0 or time > _LONGEST else Seconds(time)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
