"""Why a model server did not start, or ended by itself.

One frozen value goes from the launcher to the client, the log and the page: nobody reads the cause
out of a text a second time.

Guarantees: `brief` holds no path, command line or output of the server, so that every client may
read it; `text` is for the log, and for those who may read logs.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Cause(StrEnum):
    """The class of a failure; the values are part of the HTTP interface."""

    PROGRAM_NOT_FOUND = "program_not_found"
    CANNOT_START = "cannot_start"
    FILE_NOT_FOUND = "file_not_found"
    PERMISSION_DENIED = "permission_denied"
    UNKNOWN_ARGUMENT = "unknown_argument"
    BAD_MODEL = "bad_model"
    MISSING_LIBRARY = "missing_library"
    OUT_OF_MEMORY = "out_of_memory"
    ADDRESS_IN_USE = "address_in_use"
    NO_DEVICE = "no_device"
    CONTAINER = "container"
    NETWORK = "network"
    NOT_READY = "not_ready"
    KILLED = "killed"
    CRASHED = "crashed"
    EXITED = "exited"

    @property
    def phrase(self) -> str:
        """The cause in a few words that anybody may read."""
        return _PHRASES[self]

    @property
    def is_lasting(self) -> bool:
        """Whether another try fails too, as long as nobody changes anything."""
        return self not in _PASSING


_PHRASES: Final = {
    Cause.PROGRAM_NOT_FOUND: "the program was not found",
    Cause.CANNOT_START: "the program cannot be started",
    Cause.FILE_NOT_FOUND: "a file was not found",
    Cause.PERMISSION_DENIED: "permission denied",
    Cause.UNKNOWN_ARGUMENT: "an argument is not known or not valid",
    Cause.BAD_MODEL: "the model file cannot be used",
    Cause.MISSING_LIBRARY: "a library is missing",
    Cause.OUT_OF_MEMORY: "out of memory",
    Cause.ADDRESS_IN_USE: "the address is in use",
    Cause.NO_DEVICE: "no usable GPU",
    Cause.CONTAINER: "the container cannot be started",
    Cause.NETWORK: "another machine cannot be reached",
    Cause.NOT_READY: "not ready in time",
    Cause.KILLED: "the server was killed",
    Cause.CRASHED: "the server crashed",
    Cause.EXITED: "the server ended",
}
_PASSING: Final = frozenset(
    {Cause.OUT_OF_MEMORY, Cause.ADDRESS_IN_USE, Cause.NETWORK, Cause.NOT_READY, Cause.KILLED}
)
"""Memory and ports become free, networks come back; a slow start may be faster the next time."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one start failed, or one running server ended."""

    cause: Cause
    text: str
    brief: str
    is_lasting: bool
    """Another try without a change would fail too."""
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class ProbeObservation:
    """What the probe of a starting server saw at its last look."""

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


def unready(timeout: float, seen: ProbeObservation | None) -> Failure:
    """Say that a server was not ready in time, and what its check endpoint did instead."""
    said = f"not ready within {timeout:g} s"
    if seen is None:
        return failure(Cause.NOT_READY, said, brief=said)
    return failure(
        Cause.NOT_READY,
        f"{said}: {seen.text}",
        brief=f"{said}: {seen.brief}",
        is_lasting=seen.is_lasting,
    )
