"""How a server ended, or why it did not start, in words: the `Exit` and `Failure` values."""

from __future__ import annotations

import signal
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from modelswap.core.failure import Cause, Failure, ProbeObservation, failure
from modelswap.keeper import protocol
from modelswap.launch.protocol import Exit
from modelswap.net.address import is_unix

from .ports import is_listening
from .server import directory, environment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from modelswap.launch.diagnosis.diagnosis import Finding
    from modelswap.launch.protocol import LaunchSpec

    from .server import LocalServer

_ENDED_BY_OTHERS: Final = frozenset(
    {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT}
)
"""Signals that come from outside; the others come from a mistake in the program."""
_SHELL_SIGNAL: Final = 128
"""A shell and Docker report a signal as this plus its number."""
_KILLS: Final = frozenset({signal.SIGKILL, _SHELL_SIGNAL + signal.SIGKILL})
_FOR_MEMORY: Final = ", perhaps by the system for lack of memory"
"""What the kernel does then cannot be seen from here, and is the usual reason."""
_SHELL_NOT_FOUND: Final = 127
"""Exit code of a shell that did not find the program."""
_DIED: Final = failure(Cause.KILLED, "the keeper died", brief="the keeper died")
KEEPER_DIED: Final = Exit(signal=signal.SIGKILL, reason=_DIED.text, failure=_DIED)
_NONE: Final = failure(Cause.CANNOT_START, "the keeper cannot be started", is_lasting=False)
NO_KEEPER: Final = Exit(reason=_NONE.text, failure=_NONE)
UNWATCHED: Final = failure(Cause.CANNOT_START, "it cannot be watched", is_lasting=False)
_MAIN_EXITED_TEXT: Final = "the server has gone; what it left behind is being ended"
MAIN_EXITED: Final = failure(Cause.EXITED, _MAIN_EXITED_TEXT, brief=_MAIN_EXITED_TEXT)


def _clash_reason(server: LocalServer) -> str:
    return f"{_address_of(server)} is taken by another program"


def _address_of(server: LocalServer) -> str:
    return "its Unix socket" if is_unix(server.spec.url) else "its port"


def clash_text(server: LocalServer) -> str:
    """Say who holds the address that the server was to have; for the model's log."""
    port = _address_of(server) if server.port is None else f"port {server.port}"
    who = "" if server.clash is None else f": {server.clash.name}, pid {server.clash.pid}"
    return f"{port} is held by another process{who}"


def is_wanted(server: LocalServer) -> bool:
    """Whether the server was asked to exit and nothing had failed before."""
    return server.is_stopping and server.failure is None


def exit_of(server: LocalServer, code: int) -> Exit:
    """Put the end of a server into words; `code` is an exit code, or minus a signal.

    Not for the loop, unless the exit was wanted: it reads the output, and asks who has the port.
    """
    reason = f"exited with code {code}" if code >= 0 else f"killed by signal {-code}"
    exit_code, number = (code, None) if code >= 0 else (None, -code)
    ending = Exit(code=exit_code, signal=number, reason=reason)
    if is_wanted(server):
        return ending
    found = server.finding()
    port = server.spec.port
    clash = server.clash is not None
    if port is not None and not server.is_ready and not server.is_stopping:
        said_so = found is not None and found.cause is Cause.ADDRESS_IN_USE
        with suppress(OSError):  # no descriptor left to ask with
            clash = clash or said_so or is_listening(port)
    why = server.failure or (_clash(server, reason, found) if clash else None)
    why = why or _failure_of(server, code, reason, found)
    text = why.text if server.failure or clash else reason
    return replace(ending, reason=text, failure=why, retryable=clash and port is not None)


def address_taken(server: LocalServer) -> Failure:
    """Say that the address is taken, for a server that the launcher kills."""
    return failure(Cause.ADDRESS_IN_USE, _clash_reason(server), brief=_clash_reason(server))


def _clash(server: LocalServer, reason: str, found: Finding | None) -> Failure:
    """Say that the address is taken, and by whom or in what words."""
    brief = text = _clash_reason(server)
    if server.clash is not None:
        text = f"{brief}, {server.clash.name}, pid {server.clash.pid}"
    elif found is not None and found.cause is Cause.ADDRESS_IN_USE:
        text = f"{brief}: {found.line}"
    return failure(Cause.ADDRESS_IN_USE, f"{text} ({reason})", brief=f"{brief} ({reason})")


def _failure_of(server: LocalServer, code: int, reason: str, found: Finding | None) -> Failure:
    cause = _cause_of(code)
    text = reason + _FOR_MEMORY if cause is Cause.KILLED and abs(code) in _KILLS else reason
    if found is not None and _is_reason(server, cause, found):
        cause = found.cause or cause
        text = f"{found.line} ({text})"
    elif found is not None:
        text = f"{text}; its output: {found.line}"
    brief = reason if cause is Cause.EXITED else f"{cause.phrase} ({reason})"
    return failure(cause, text, brief=brief, exit_code=code if code >= 0 else None)


def _is_reason(server: LocalServer, cause: Cause, found: Finding) -> bool:
    """Whether a line stands for the end, or beside it."""
    # One that served has printed errors of requests; one that starts may say why and kill itself.
    if cause is Cause.KILLED and server.is_ready:
        return found.cause is Cause.OUT_OF_MEMORY
    return found.is_error


def _cause_of(code: int) -> Cause:
    if code == _SHELL_NOT_FOUND:
        return Cause.PROGRAM_NOT_FOUND
    number = -code if code < 0 else code - _SHELL_SIGNAL
    if number <= 0 or number >= signal.NSIG:
        return Cause.EXITED
    return Cause.KILLED if number in _ENDED_BY_OTHERS else Cause.CRASHED


def last_observation(server: LocalServer) -> ProbeObservation | None:
    """Say what the check endpoint did at the last probe; where nothing answers, add the output."""
    if server.probe_result is None:
        return None
    seen = server.probe_result.as_observation()
    found = None if server.probe_result.has_answered else server.finding()
    return seen if found is None else replace(seen, text=f"{seen.text}; its output: {found.line}")


def _spawn_error(spec: LaunchSpec, argv: Sequence[str], message: Mapping[str, object]) -> Failure:
    """Explain what the keeper says of a program that it could not start."""
    from modelswap.launch.diagnosis.unstartable import explain  # noqa: PLC0415 - only for a failure

    number = protocol.whole_or_none(message, "errno")  # an older keeper does not send it
    reason = protocol.text(message, "reason")
    return explain(argv, environment(spec), directory(spec), number, reason)


def not_startable(text: str, *, is_lasting: bool) -> Exit:
    """Make an exit of a server that was not even ordered from the keeper."""
    why = failure(Cause.CANNOT_START, text, brief=text, is_lasting=is_lasting)
    return Exit(reason=text, failure=why)


def spawn_failed(spec: LaunchSpec, message: Mapping[str, object]) -> Exit:
    why = _spawn_error(spec, spec.argv, message)
    why = replace(why, text=f"cannot start: {why.text}")
    return Exit(reason=why.text, failure=why)


def stop_command_trouble(spec: LaunchSpec, message: Mapping[str, object]) -> str:
    """Say what went wrong with a stop command; empty: nothing did."""
    code = protocol.whole_or_none(message, "code")
    if code == 0:
        return ""
    said = f"ended with {code}"
    if code is None:
        said = f"could not be started: {_spawn_error(spec, spec.stop_command, message).text}"
    return f"the stop command {said}; sending SIGTERM"
