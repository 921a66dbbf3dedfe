"""Chooses the line that says why a server ended, out of the last of its output.

A rule that names a cause wins over one that only looks like a failure; a line that merely repeats that
the start failed comes after both, and else the last line is chosen.

Guarantees: one line without control characters and escape sequences, at most `MAX_LENGTH` characters,
what looks like a credential masked.
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from modelswap.deferred import dataclass, regex

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from modelswap.core.failure import Cause

TAIL_SIZE: Final = 96 << 10
"""Bytes of output that are kept: vLLM's traceback of several processes has about 40 kB, and the help
that older llama-servers print after an unknown argument some 60 kB."""
MAX_LENGTH: Final = 400
"""Characters of the line: what fits into a log line and an error message."""
FINAL_LINES: Final = 60
"""Lines at the end that say why a server ended that had been ready; earlier ones are about requests."""
_MAX_LINES: Final = 1200
"""Lines, the last ones, that are judged: so many that they take some 20 ms at the most."""
_MAX_INSPECTED: Final = 800
"""Characters of a line that the rules see: a line of any length costs a bounded time."""


class OutputTail:
    __slots__ = ("_data",)

    def __init__(self) -> None:
        self._data = bytearray()

    def add(self, output: bytes) -> None:
        data = self._data
        data += output
        if len(data) > 2 * TAIL_SIZE:  # so that each byte is moved once
            del data[:-TAIL_SIZE]

    def clear(self) -> None:
        self._data.clear()

    def lines(self) -> list[str]:
        """Return what is kept as clean lines, none of them empty."""
        text = bytes(self._data[-TAIL_SIZE:]).decode("utf-8", "replace")
        return [line for raw in _LINE_ENDS.split(text) if (line := clean(raw))][-_MAX_LINES:]


_LINE_ENDS: Final = regex(r"[\r\n]+")
_ESCAPE: Final = regex(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_PREFIX: Final = regex(
    r"\((?:[A-Za-z_][\w-]*)(?: (?:pid|rank|ip)=[^)\s]+)+\) "  # vLLM, Ray: (EngineCore_0 pid=12)
    r"|\[rank\d+\]: "
    r"|\d+\.\d\d\.\d{3}\.\d{3}\s+"  # llama.cpp: 0.00.004.374 E
    r"|\[?\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?(?: TP\d+)?\]?:? "
    r"|\[?\d\d:\d\d:\d\d(?:[.,]\d+)?\]? "
    r"|(?:ERROR|CRITICAL|WARNING|INFO|DEBUG) \d\d-\d\d \d\d:\d\d:\d\d (?:\[[^\]\s]+\] )?"  # vLLM
    r"|[DIWE] +(?=[a-z_]+:? )"  # llama.cpp's level
)
_BELOW_ERROR: Final = regex(
    r"\W{0,3}(?:INFO|DEBUG|TRACE|NOTICE|WARN|WARNING|[DIW] )\b", re.IGNORECASE
)
"""A level that a server goes on after."""
_MAX_PREFIXES: Final = 4
"""A container, a process, a time and a level may each put one before a message."""
_OWN_NOTE: Final = "[modelswap: "
"""Notes about the output itself, by the keeper and the launcher."""


def clean(line: str) -> str:
    """Remove escape sequences and control characters; a note of ours becomes empty."""
    text = _ESCAPE.sub("", line[: 2 * _MAX_INSPECTED]).replace("\t", " ")
    if not text.isprintable():
        text = "".join(c for c in text if c.isprintable())
    return "" if text.startswith(_OWN_NOTE) else text[:_MAX_INSPECTED].rstrip()


def _split(line: str) -> tuple[bool, str]:
    """Take off what a log puts before a message; say whether its level is below error."""
    is_below_error = False
    for _ in range(_MAX_PREFIXES):
        is_below_error = is_below_error or _BELOW_ERROR.match(line) is not None
        prefix = _PREFIX.match(line)
        if prefix is None:
            break
        line = line[prefix.end() :]
    return is_below_error, line


class _Rank(IntEnum):
    LAST = 0
    CONSEQUENCE = 1
    """It only says that the start failed, which is known already."""
    WEAK = 2
    """It names a cause, but servers that go on print it, too."""
    ERROR = 3
    CAUSE = 4


@dataclass(frozen=True, slots=True)
class Finding:
    """The chosen line and what it means; `None`: it names no known cause."""

    cause: Cause | None
    line: str
    is_error: bool
    """The line says that something failed; else it is just the last one."""


_CONSEQUENCE: Final = regex(
    r"exiting due to|cleaning up before exit|see root cause|see stack trace|failed to start\.?$"
    r"|(?:engine core|engine process|worker\w*|scheduler) (?:initiali[sz]ation )?(?:failed|died)"
    r"|failed to init(?:iali[sz]e)? (?:the )?server|please check the input params|sigquit from a child"
    r"|^traceback \(most recent|^during handling of|^the above exception"
    r"|usage:|--help|usage, run with|for usage|for more information|for help"
    r"|run 'docker|child process|subprocess\.|exit (?:code|status)|^at |^goroutine",
    re.IGNORECASE,
)
"""Lines that follow from the real reason. A rule for a cause is asked before."""

_HARMLESS_CAUSE: Final = regex(
    r"\bwarning:|failed to initiali[sz]e cuda|falling back|fallback|\bskipping\b|\bignor(?:ed|ing)\b"
    r"|nvidia-smi|/proc/|/sys/|\bretrying\b|unable to find image|gpu will not be used",
    re.IGNORECASE,
)
"""A line that names a cause and goes on to say that it does not matter."""

_ERRORS: Final = regex(
    r"\berrors?\b|\bfatal\b|\bpanic(?:ked)?\b|\bcritical\b|\bexception\b|\bfailed\b|\bfailure\b"
    r"|\bcannot\b|\bcan't\b|couldn't|could not|\bunable to\b|\binvalid\b|\babort(?:ed|ing)?\b"
    r"|^[A-Za-z_][\w.]*(?:Error|Exception|Interrupt)\b|GGML_ASSERT|assertion|terminate called|what\(\):"
    r"|segmentation fault|illegal instruction|bus error|core dumped|\bkilled\b|\bunsupported\b"
    r"|not supported|\bmissing\b|\bdenied\b|not found|\brefused\b|E\d{4} ",
    re.IGNORECASE,
)
_ERROR_SIGNS: Final = (
    *("error", "fail", "fatal", "panic", "critical", "exception", "abort", "assert", "terminate"),
    *("cannot", "can't", "couldn't", "could not", "unable", "invalid", "illegal", "unsupported"),
    *("not found", "not supported", "missing", "denied", "refused", "killed", "dumped", "what()"),
    *("segmentation", "bus err", "interrupt", "usage:"),
)
_NO_ERRORS: Final = regex(r"\b(?:0|no) errors?\b", re.IGNORECASE)
_SECRET: Final = regex(
    r"(?P<flag>--?(?:[a-z0-9]+[-_])*(?:api-?_?keys?|token|password|passwd|secret|auth)(?:=|\s+)[\"']?)"
    r"(?!-)[^\s\"']+"
    r"|(?P<name>\b(?:[a-z0-9]+_)*(?:api_?key|token|password|passwd|secret)[\"']?\s?[=:]\s?[\"']?)[^\s\"',]{3,}"
    r"|(?P<scheme>\bbearer\s+)[\w.~+/=-]{6,}"
    r"|\b(?:hf_|sk-|ghp_|glpat-)[\w-]{8,}"
    r"|(?P<url>\b[a-z][a-z0-9+.-]{1,20}://)[^/\s@:]+(?::[^/\s@]*)?@",
    re.IGNORECASE,
)
_SECRET_FLAG: Final = regex(
    r"--?(?:[a-z0-9]+[-_])*(?:api-?_?keys?|token|password|passwd|secret|auth)(?:=(.+))?",
    re.IGNORECASE,
)
_SECRET_NAME: Final = regex(r"\w*(?:KEY|TOKEN|SECRET|PASSW)\w*", re.IGNORECASE)
_MIN_SECRET: Final = 3
"""Characters; to mask a shorter value would be to mask ordinary words."""
MASK: Final = "***"


def secrets_in(argv: Sequence[str], env: Sequence[str]) -> list[str]:
    """Find the values that a command and its `NAME=value` variables give as credentials."""
    found: list[str] = []
    for part, after in zip(argv, [*argv[1:], ""], strict=True):
        if match := _SECRET_FLAG.fullmatch(part):
            found.append(match[1] or after)
    for entry in env:
        name, _, value = entry.partition("=")
        if _SECRET_NAME.fullmatch(name):
            found.append(value)
    return sorted((v for v in found if len(v) >= _MIN_SECRET), key=len, reverse=True)


def masked(line: str) -> str:
    """Mask what stands where credentials stand: behind such flags, in such forms, in URLs."""

    def hide(match: re.Match[str]) -> str:
        kept = match["flag"] or match["name"] or match["scheme"] or match["url"] or ""
        return f"{kept}{MASK}" + ("@" if match["url"] else "")

    return _SECRET.sub(hide, line)


def diagnose(lines: Iterable[str]) -> Finding | None:
    """Choose the line that matters; `None` when the server printed nothing."""
    best: tuple[_Rank, Cause | None, str] | None = None
    for line in lines:
        is_below_error, text = _split(line)
        if not text.strip():
            continue
        rank, cause = _judge(text, is_below_error=is_below_error or text[0] in " -")
        # Of causes the first is the root; of mere errors the last one is nearest to the end.
        if best is None or rank >= best[0]:
            best = rank, cause, text
        if rank is _Rank.CAUSE:
            break
    if best is None:
        return None
    rank, cause, text = best
    return Finding(cause, presentable(text), is_error=rank >= _Rank.WEAK)


def _judge(text: str, *, is_below_error: bool) -> tuple[_Rank, Cause | None]:
    """Rank a line; *is_below_error* also: of a traceback or a help text (a space or a dash first)."""
    from .symptoms import RULES  # noqa: PLC0415 - only for a server that failed

    lower = text.lower()
    for rule in RULES:
        if rule.fits(text, lower):
            is_certain = not is_below_error and _HARMLESS_CAUSE.search(text) is None
            return (_Rank.CAUSE if is_certain else _Rank.WEAK), rule.cause
    if not any(sign in lower for sign in _ERROR_SIGNS):
        return _Rank.LAST, None
    if _CONSEQUENCE.search(text):
        return _Rank.CONSEQUENCE, None
    if not is_below_error and _ERRORS.search(text) and not _NO_ERRORS.search(text):
        return _Rank.ERROR, None
    return _Rank.LAST, None


def presentable(line: str) -> str:
    """Make a line fit to be shown: masked before it is cut, since half a secret is not recognised."""
    text = masked(" ".join(line.split()))
    if len(text) <= MAX_LENGTH:
        return text
    text = text[: MAX_LENGTH - 2]
    return f"{text[: max(text.rfind(' '), MAX_LENGTH // 2)]} …"
