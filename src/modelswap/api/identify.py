"""Whose request it is: the keys that it carries, judged for its route.

Raises what the client is told: 401 without a right key, 403 without the scope, 429 beyond a rate.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, assert_never

from modelswap.errors import ForbiddenError, RateLimitedError, UnauthorizedError

from .access import ANYONE, UNAUTHORIZED, Denied, Identity, Lacks, Moment, SlowDown
from .callers import address_of
from .credentials import keys_of
from .routes import Scope

if TYPE_CHECKING:
    from modelswap.http import Request

    from .access import Held, Verdict
    from .book import Book
    from .passport import Passport


def identify(request: Request, scope: Scope, book: Book, now: float) -> tuple[Identity, Held]:
    """Return who asks, and what `is_still` has to judge; `now` is monotonic.

    Raises:
        ReplyError: the request may not have this scope now.
    """
    if book.access.is_open or scope.value is None:
        return ANYONE, ()
    verdict, held = book.access.check(
        keys_of(request),
        scope.value,
        address=lambda: address_of(request, book.origins),
        moment=_moment(now),
    )
    return _identity(verdict), held


def is_still(passport: Passport, now: float) -> bool:
    """Judge the keys of an equal request again; False: they stand for another identity now.

    Raises:
        ReplyError: the request may not have this scope now.
    """
    verdict = passport.book.access.judge(passport.held, Scope.INFERENCE.value, _moment(now))
    return _identity(verdict) is passport.identity


def _moment(now: float) -> Moment:
    return Moment(now, time.time())  # noqa: TID251 - keys expire by the calendar


def _identity(verdict: Verdict) -> Identity:
    match verdict:
        case Identity():
            return verdict
        case Denied():
            raise UnauthorizedError(UNAUTHORIZED)
        case Lacks(scope):
            raise ForbiddenError(f"this key lacks the scope {scope!r}")
        case SlowDown(reason, retry_after):
            raise RateLimitedError(reason, retry_after=retry_after)
        case _ as never:
            assert_never(never)
