"""The line that says why a server ended, chosen out of the last of its output.

Pure. The rules know what llama.cpp, vLLM, SGLang, whisper.cpp, stable-diffusion.cpp, Python servers,
loaders and Docker print. A rule that names a cause wins over one that only looks like a failure; a line
that merely repeats that the start failed comes after both, and the last line is what is left.

Guarantees: one line without control characters and escape sequences, at most `LONGEST` characters,
what looks like a credential masked.
Does not: read files, or know what the configuration says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from .symptoms import RULES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from modelswap.core.failure import Cause

TAIL: Final = 96 << 10
"""Bytes of output that are kept: vLLM's traceback of several processes has about 40 kB, and the help
that older llama-servers print after an unknown argument some 60 kB."""
LONGEST: Final = 400
"""Characters of the line: what fits into a log line and an error message."""
LAST_WORDS: Final = 60
"""Lines at the end that say why a server ended that had been ready; earlier ones are about requests."""
_MOST_LINES: Final = 1200
"""Lines, the last ones, that are judged: so many that they take some 20 ms at the most."""
_LONGEST_LOOKED_AT: Final = 800
"""Characters of a line that the rules see: a line of any length costs a bounded time."""


class Tail:
    """The last output of one server."""

    __slots__ = ("_data",)

    def __init__(self) -> None:
        self._data = bytearray()

    def add(self, output: bytes) -> None:
        data = self._data
        data += output
        if len(data) > 2 * TAIL:  # so that each byte is moved once
            del data[:-TAIL]

    def clear(self) -> None:
        self._data.clear()

    def lines(self) -> list[str]:
        """Return what is kept as clean lines, none of them empty."""
        text = bytes(self._data[-TAIL:]).decode("utf-8", "replace")
        return [line for raw in _ENDS.split(text) if (line := clean(raw))][-_MOST_LINES:]


_ENDS: Final = re.compile(r"[\r\n]+")
_ESCAPE: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_PREFIX: Final = re.compile(
    r"\((?:[A-Za-z_][\w-]*)(?: (?:pid|rank|ip)=[^)\s]+)+\) "  # vLLM, Ray: (EngineCore_0 pid=12)
    r"|\[rank\d+\]: "
    r"|\d+\.\d\d\.\d{3}\.\d{3}\s+"  # llama.cpp: 0.00.004.374 E
    r"|\[?\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?(?: TP\d+)?\]?:? "
    r"|\[?\d\d:\d\d:\d\d(?:[.,]\d+)?\]? "
    r"|(?:ERROR|CRITICAL|WARNING|INFO|DEBUG) \d\d-\d\d \d\d:\d\d:\d\d (?:\[[^\]\s]+\] )?"  # vLLM
    r"|[DIWE] +(?=[a-z_]+:? )"  # llama.cpp's level
)
_CALM: Final = re.compile(
    r"\W{0,3}(?:INFO|DEBUG|TRACE|NOTICE|WARN|WARNING|[DIW] )\b", re.IGNORECASE
)
"""A level that a server goes on after."""
_MOST_PREFIXES: Final = 4
_OURS: Final = "[modelswap: "
"""Notes about the output itself, by the keeper and the launcher."""


def clean(line: str) -> str:
    """Take out escape sequences and control characters; empty when nothing of a server is left."""
    text = _ESCAPE.sub("", line[: 2 * _LONGEST_LOOKED_AT]).replace("\t", " ")
    if not text.isprintable():
        text = "".join(c for c in text if c.isprintable())
    return "" if text.startswith(_OURS) else text[:_LONGEST_LOOKED_AT].rstrip()


def _split(line: str) -> tuple[bool, str]:
    """Take off what a log puts before a message; say whether its level is below error."""
    is_calm = False
    for _ in range(_MOST_PREFIXES):
        is_calm = is_calm or _CALM.match(line) is not None
        prefix = _PREFIX.match(line)
        if prefix is None:
            break
        line = line[prefix.end() :]
    return is_calm, line


class _Rank(IntEnum):
    LAST = 0
    ECHO = 1
    """It only says that the start failed, which is known."""
    WEAK = 2
    """It names a cause, but servers that go on print it, too."""
    ERROR = 3
    CAUSE = 4


@dataclass(frozen=True, slots=True)
class Finding:
    """The chosen line and what it means; no cause: it says no more than what it says."""

    cause: Cause | None
    line: str
    is_error: bool
    """The line says that something failed; else it is just the last one."""


_ECHO: Final = re.compile(
    r"exiting due to|cleaning up before exit|see root cause|see stack trace|failed to start\.?$"
    r"|(?:engine core|engine process|worker\w*|scheduler) (?:initiali[sz]ation )?(?:failed|died)"
    r"|failed to init(?:iali[sz]e)? (?:the )?server|please check the input params|sigquit from a child"
    r"|^traceback \(most recent|^during handling of|^the above exception"
    r"|usage:|--help|usage, run with|for usage|for more information|for help"
    r"|run 'docker|child process|subprocess\.|exit (?:code|status)|^at |^goroutine",
    re.IGNORECASE,
)
"""Lines that follow from the real reason. A rule for a cause is asked before."""

_MILD: Final = re.compile(
    r"\bwarning:|failed to initiali[sz]e cuda|falling back|fallback|\bskipping\b|\bignor(?:ed|ing)\b"
    r"|nvidia-smi|/proc/|/sys/|\bretrying\b|unable to find image|gpu will not be used",
    re.IGNORECASE,
)
"""A line that names a cause and goes on to say that it does not matter."""

_ERRORS: Final = re.compile(
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
_HARMLESS: Final = re.compile(r"\b(?:0|no) errors?\b", re.IGNORECASE)
_SECRET: Final = re.compile(
    r"(?P<flag>--?(?:[a-z0-9]+[-_])*(?:api-?_?keys?|token|password|passwd|secret|auth)(?:=|\s+)[\"']?)"
    r"(?!-)[^\s\"']+"
    r"|(?P<name>\b(?:[a-z0-9]+_)*(?:api_?key|token|password|passwd|secret)[\"']?\s?[=:]\s?[\"']?)[^\s\"',]{3,}"
    r"|(?P<scheme>\bbearer\s+)[\w.~+/=-]{6,}"
    r"|\b(?:hf_|sk-|ghp_|glpat-)[\w-]{8,}"
    r"|(?P<url>\b[a-z][a-z0-9+.-]{1,20}://)[^/\s@:]+(?::[^/\s@]*)?@",
    re.IGNORECASE,
)
_SECRET_FLAG: Final = re.compile(
    r"--?(?:[a-z0-9]+[-_])*(?:api-?_?keys?|token|password|passwd|secret|auth)(?:=(.+))?",
    re.IGNORECASE,
)
_SECRET_NAME: Final = re.compile(r"\w*(?:KEY|TOKEN|SECRET|PASSW)\w*", re.IGNORECASE)
_SHORTEST_SECRET: Final = 3
"""Characters; to mask a shorter value would be to mask ordinary words."""
MASK: Final = "***"


def secrets_in(argv: Sequence[str], env: Sequence[str]) -> list[str]:
    """Find the values that a command and its `NAME=value` variables give as credentials."""
    found: list[str] = []
    for part, after in zip(argv, [*argv[1:], ""], strict=True):
        match = _SECRET_FLAG.fullmatch(part)
        if match is not None:
            found.append(match[1] or after)
    for entry in env:
        name, _, value = entry.partition("=")
        if _SECRET_NAME.fullmatch(name):
            found.append(value)
    return sorted((v for v in found if len(v) >= _SHORTEST_SECRET), key=len, reverse=True)


def masked(line: str) -> str:
    """Mask what stands where credentials stand: behind such flags, in such forms, in URLs."""

    def hide(match: re.Match[str]) -> str:
        kept = match["flag"] or match["name"] or match["scheme"] or match["url"] or ""
        return f"{kept}{MASK}" + ("@" if match["url"] else "")

    return _SECRET.sub(hide, line)


def diagnose(lines: Iterable[str]) -> Finding | None:
    """Choose the line that matters; `None` when the server said nothing."""
    best: tuple[_Rank, Cause | None, str] | None = None
    for line in lines:
        is_calm, text = _split(line)
        if not text.strip():
            continue
        rank, cause = _judge(text, is_calm=is_calm or text[0] in " -")
        # Of causes the first is the root; of mere errors the last one is nearest to the end.
        if best is None or rank >= best[0]:
            best = rank, cause, text
        if rank is _Rank.CAUSE:
            break
    if best is None:
        return None
    rank, cause, text = best
    return Finding(cause, shown(text), is_error=rank >= _Rank.WEAK)


def _judge(text: str, *, is_calm: bool) -> tuple[_Rank, Cause | None]:
    """Rank a line.

    *is_calm*: an information or a warning, or a line of a traceback or a help text, which begin with a
    space or a dash.
    """
    lower = text.lower()
    for rule in RULES:
        if rule.fits(text, lower):
            is_certain = not is_calm and _MILD.search(text) is None
            return (_Rank.CAUSE if is_certain else _Rank.WEAK), rule.cause
    if not any(sign in lower for sign in _ERROR_SIGNS):
        return _Rank.LAST, None
    if _ECHO.search(text):
        return _Rank.ECHO, None
    if not is_calm and _ERRORS.search(text) and not _HARMLESS.search(text):
        return _Rank.ERROR, None
    return _Rank.LAST, None


def shown(line: str) -> str:
    """Make a line fit to be shown: masked, one line, bounded; the half of a secret is no known one."""
    text = masked(" ".join(line.split()))
    if len(text) <= LONGEST:
        return text
    text = text[: LONGEST - 2]
    return f"{text[: max(text.rfind(' '), LONGEST // 2)]} …"
