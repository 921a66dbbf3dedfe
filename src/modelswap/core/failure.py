"""Why a model server did not start, or exited by itself.

Guarantees: `brief` holds no path, command line or output of the server, so every client may read
it; `text` is for those who may read logs.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final, Self

from modelswap.deferred import dataclass

if TYPE_CHECKING:
    from modelswap.units import Seconds


class Cause(StrEnum):
    """The class of a failure, with a phrase for every client; values are part of the HTTP interface."""

    phrase: str

    PROGRAM_NOT_FOUND = "program_not_found", "the program was not found"
    CANNOT_START = "cannot_start", "the program cannot be started"
    FILE_NOT_FOUND = "file_not_found", "a file was not found"
    PERMISSION_DENIED = "permission_denied", "permission denied"
    UNKNOWN_ARGUMENT = "unknown_argument", "an argument is not known or not valid"
    BAD_MODEL = "bad_model", "the model file cannot be used"
    MISSING_LIBRARY = "missing_library", "a library is missing"
    OUT_OF_MEMORY = "out_of_memory", "out of memory"
    ADDRESS_IN_USE = "address_in_use", "the address is in use"
    NO_DEVICE = "no_device", "no usable GPU"
    CONTAINER = "container", "the container cannot be started"
    NETWORK = "network", "another machine cannot be reached"
    NOT_READY = "not_ready", "not ready in time"
    KILLED = "killed", "the server was killed"
    CRASHED = "crashed", "the server crashed"
    EXITED = "exited", "the server ended"
    PULL_FAILED = "pull_failed", "its files could not be pulled"

    def __new__(cls, value: str, phrase: str = "") -> Self:
        cause = str.__new__(cls, value)
        cause._value_ = value
        cause.phrase = phrase
        return cause

    @property
    def is_lasting(self) -> bool:
        """Whether another try fails too, as long as nothing is changed."""
        return self not in _PASSING


_PASSING: Final = frozenset(
    {Cause.OUT_OF_MEMORY, Cause.ADDRESS_IN_USE, Cause.NETWORK, Cause.NOT_READY, Cause.KILLED}
)
"""Memory and ports become free, networks come back; a slow start may be faster the next time."""


@dataclass(frozen=True, slots=True)
class Failure:
    cause: Cause
    text: str
    brief: str
    is_lasting: bool
    """Another try without a change fails too."""
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class ProbeObservation:
    """The last result of the probe of a starting server."""

    text: str
    brief: str
    """Without host and port."""
    is_lasting: bool = False
    """More time would not have helped."""


def failure(
    cause: Cause,
    text: str,
    *,
    brief: str = "",
    is_lasting: bool | None = None,
    exit_code: int | None = None,
) -> Failure:
    """Make a failure; what is not given follows from its cause."""
    lasting = cause.is_lasting if is_lasting is None else is_lasting
    return Failure(cause, text, brief or cause.phrase, lasting, exit_code)


def not_ready(timeout: Seconds, seen: ProbeObservation | None) -> Failure:
    """Make the failure of a server that was not ready in time, with what the probe saw."""
    brief = f"not ready within {timeout:g} s"
    if seen is None:
        return failure(Cause.NOT_READY, brief, brief=brief)
    text, brief = f"{brief}: {seen.text}", f"{brief}: {seen.brief}"
    return failure(Cause.NOT_READY, text, brief=brief, is_lasting=seen.is_lasting)
