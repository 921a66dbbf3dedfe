"""What HTTP answers and broken connections mean for a pull.

Guarantees: a text names the host at most, never an address with its query, nor a field of a request.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import httpx2

from modelswap.pull.failures import PullError, TransientError
from modelswap.pull.progress import PullFailure
from modelswap.units import Bytes, Seconds

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

_LENGTH: Final = re.compile("[0-9]{1,18}")
"""A number of 64 bits."""
_TOO_MANY: Final = 429
"""Status of a server that was asked too often."""
_MISSING: Final = frozenset({404, 410})
_REFUSED: Final = frozenset({401, 403})
_AGAIN: Final = frozenset({408, 425})
"""Statuses that ask for another try, beside those from 500 on."""
_SERVER: Final = 500
"""The first status that blames the server."""


def host_of(address: str) -> str:
    """Return host and port of an address, without name and password; empty: it is no HTTP address."""
    try:
        found = urlsplit(address)
        is_usable = found.scheme in {"http", "https"} and bool(found.hostname) and found.port != 0
    except ValueError:
        return ""
    return found.netloc.rpartition("@")[2] if is_usable else ""


def length_of(response: httpx2.Response) -> Bytes | None:
    """Return how long an answer says that its content is."""
    text = response.headers.get("content-length", "")
    return Bytes(int(text)) if _LENGTH.fullmatch(text) else None


@contextmanager
def translated(host: str) -> Generator[None]:
    """Translate the exceptions of one request to this host."""
    try:
        yield
    except httpx2.TimeoutException:
        text = f"{host} sends nothing"
        raise TransientError(PullFailure.NETWORK, text) from None
    except httpx2.TooManyRedirects:
        raise PullError(PullFailure.DAMAGED, f"{host} redirects in a circle") from None
    except (httpx2.UnsupportedProtocol, httpx2.InvalidURL, UnicodeError):
        text = f"{host} is no host, or it redirects to an address that cannot be used"
        raise PullError(PullFailure.DAMAGED, text) from None
    except httpx2.ConnectError as problem:
        text = f"{host} cannot be reached: {_reason(problem)}"
        raise TransientError(PullFailure.NETWORK, text) from None
    except httpx2.TransportError as problem:
        text = f"the connection to {host} broke: {_reason(problem)}"
        raise TransientError(PullFailure.NETWORK, text) from None
    except httpx2.RequestError as problem:
        text = f"the answer of {host} cannot be read: {type(problem).__name__}"
        raise PullError(PullFailure.DAMAGED, text) from None


def _reason(problem: Exception) -> str:
    return str(problem).partition("\n")[0][:200] or type(problem).__name__


def refusal(
    host: str, status: int, fields: Mapping[str, str], *, missing: str, refused: str
) -> PullError:
    """Return what an error status means; two texts are the source's own."""
    if status in _MISSING:
        return PullError(PullFailure.NOT_FOUND, missing)
    if status in _REFUSED:
        return PullError(PullFailure.TOKEN_MISSING, refused)
    wait = retry_after(fields)
    if status == _TOO_MANY:
        text = f"{host} takes no more requests for " + (f"{wait:.0f} s" if wait else "now")
        return TransientError(PullFailure.RATE_LIMITED, text, retry_after=wait)
    text = f"{host} answers with status {status}"
    if status >= _SERVER or status in _AGAIN:
        return TransientError(PullFailure.NETWORK, text, retry_after=wait)
    return PullError(PullFailure.DAMAGED, text)


def retry_after(fields: Mapping[str, str]) -> Seconds | None:
    """Return how long a server asks to wait; the hub also says it in its `RateLimit` field."""
    for text in (fields.get("retry-after", ""), _reset(fields.get("ratelimit", ""))):
        if text.isascii() and text.isdigit():
            return Seconds(float(text[:9]))
    return _until(fields.get("retry-after", ""), fields.get("date", ""))


def _reset(text: str) -> str:
    """Return `t` of `"api";r=0;t=55`, where `r` says that nothing is left."""
    parts = (part.strip().partition("=") for part in text.split(";"))
    values = {name: value for name, _, value in parts}
    return values.get("t", "") if values.get("r") == "0" else ""


def _until(text: str, now: str) -> Seconds | None:
    """Return the seconds up to a date, by the server's own clock."""
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - servers rarely send one

    try:
        wait = parsedate_to_datetime(text) - parsedate_to_datetime(now)
    except (TypeError, ValueError, OverflowError):
        return None
    return Seconds(max(0.0, wait.total_seconds()))
