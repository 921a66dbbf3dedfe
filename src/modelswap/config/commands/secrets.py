"""Secrets in commands are found and masked: the values of `--api-key`, `HF_TOKEN=` and the like. Pure.

Guarantees: `masked_command` shows no value that `values_in` finds. Both read quotes, comments, commands
inside quotes, headers, URLs and JSON, in time linear in the length of the text.
Does not: read files, or know what a program does with an option. The option's name decides.
"""

from __future__ import annotations

import re
import shlex
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from modelswap.config.redact import MASK, is_secret, redact
from modelswap.deferred import regex

from .words import split

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from modelswap.config.plan import Plan

_HINTS: Final = regex(r"(?i)key|token|pass|secret|auth|cred|bearer|jwt|-hft|://[^/\s]*@")
"""A text without any of these holds no secret; this spares most commands the full search."""
_NAME: Final = r"[A-Za-z][\w.-]{0,80}"
_VALUE: Final = r"""(?P<value>"(?:\\.|[^"\\])*"|'[^']*'|(?:\\.|[^\s"'\\])+)"""
_OPTION: Final = regex(
    rf"""(?<![\w.-])--?(?P<name>{_NAME})["']?(?:=|(?:\s|\\\n)+)(?!-)(?={_VALUE})"""
)
"""The value is a look-ahead: it may be a whole command, with options of its own."""
_FURTHER: Final = regex(rf"(?:\s|\\\n)+(?!-){_VALUE}")
_VARIABLE: Final = regex(rf"(?<![A-Za-z0-9.])(?P<name>{_NAME})=(?={_VALUE})")
_JSON: Final = regex(rf"""["'](?P<name>{_NAME})\\?["']\s*:\s*\\?["'](?P<value>[^"'\\]+)""")
_QUERY: Final = regex(rf"[?&;](?P<name>{_NAME})=(?P<value>[^\s&\"'#;]+)")
_HEADER: Final = regex(
    r"""(?i)(?:authorization|api-?key|auth-token|access-token)\\?["']?\s*[:=]\s*\\?["']?"""
    r"""(?:(?:bearer|basic|token|digest)\s+)?(?P<value>[^\s"',;\\]+)"""
)
_BEARER: Final = regex(r"""(?i)\bbearer\s+(?P<value>[^\s"',;\\]+)""")
_USERINFO: Final = regex(r"""://[^/\s:@"']*:(?P<value>[^@\s/"']+)@""")

_ENDS: Final = (
    "token", "apikey", "apikeys", "accesskey", "secretkey", "authkey", "adminkey", "masterkey",
    "password", "passwd", "passphrase", "secret", "secrets", "credential", "credentials", "bearer",
    "jwt", "authtokens", "apitokens", "accesstokens", "gradioauth", "apiauth", "basicauth", "httpauth",
)  # fmt: skip
_WHOLE: Final = frozenset({"hft", "pass"})
_VOCABULARY: Final = frozenset({
    "bos", "eos", "eot", "eom", "pad", "unk", "sep", "cls", "mask", "image", "audio", "video",
    "vision", "special", "stop", "start", "begin", "end", "think", "thinking", "reasoning", "tool",
    "call", "prompt", "draft", "per", "max", "min", "num", "n", "first", "last", "next", "new", "each",
    "fim", "pre", "suf", "mid", "prefix", "suffix", "middle", "placeholder", "by", "until",
})  # fmt: skip
"""Words before `token` that mean a token of text, as in `--eos-token`."""
_WORDS: Final = regex(r"[-_.]+|(?<=[a-z])(?=[A-Z])")
_SHORTEST: Final = 6
"""Characters: a shorter value may be an ordinary word, so it is masked only behind its option."""
_ORDINARY: Final = frozenset({"secret", "password", "dummy-key", "no-key", "not-needed", "sk-none"})
_DEEPEST: Final = 3
"""Levels of commands inside quotes that are searched."""
_QUOTES: Final = regex(r"""["'\\]""")
_WHOLE_NAME: Final = regex(rf"-{{0,2}}{_NAME}")
_FILE: Final = regex(r"[/\\.]")
_REFERENCE: Final = regex(r"\$\{?\w+\}?|%\w+%|\$\{\w+[:?+-].*\}")


@lru_cache(maxsize=1024)
def _is_telling(name: str, *, variable: bool = False) -> bool:
    """Tell whether the name of an option or a variable says that its value is a secret."""
    words = _WORDS.split(name)
    flat = "".join(words).lower()
    if flat in _WHOLE:
        return not variable or flat != "hft"
    if variable and name.isupper() and name.endswith("_KEY") and "PUBLIC" not in name:
        return True
    is_of_text = words[-1].lower() == "token" and words[-2:][0].lower() in _VOCABULARY
    return flat.endswith(_ENDS) and not is_of_text


def _is_secret(name: str, value: str, *, variable: bool = False) -> bool:
    """Tell whether the value behind a name is a secret; a bare `--key` may name a file."""
    if _is_telling(name, variable=variable):
        return True
    match re.sub(r"[-_.]", "", name).lower():
        case "key" | "serverkey" | "openaikey" | "hfkey" | "llmkey" | "userkey" | "sessionkey":
            return not variable and _FILE.search(value) is None
        case "auth" | "login":
            return not variable and ":" in value
        case _:
            return False


def _spans(text: str) -> list[tuple[int, int]]:
    """Return the spans of the values without their quotes; in order, none inside another."""
    found: list[tuple[int, int]] = []
    takes_several = "vllm" in text
    for pattern in (_OPTION, _VARIABLE):
        for match in pattern.finditer(text):
            if _is_secret(match["name"], match["value"], variable=pattern is _VARIABLE):
                found.append(match.span("value"))
                if takes_several and pattern is _OPTION and "key" in match["name"].lower():
                    found += _further(text, match.end("value"))
    for pattern in (_JSON, _QUERY):
        found += [m.span("value") for m in pattern.finditer(text) if _is_telling(m["name"])]
    for pattern in (_HEADER, _BEARER, _USERINFO):
        found += [match.span("value") for match in pattern.finditer(text)]
    return _apart(sorted(_unquoted(text, span) for span in found))


def _further(text: str, at: int) -> Iterator[tuple[int, int]]:
    """Yield the further keys behind one `--api-key` of vLLM."""
    while (more := _FURTHER.match(text, at)) is not None:
        yield more.span("value")
        at = more.end()


def _unquoted(text: str, span: tuple[int, int]) -> tuple[int, int]:
    start, end = span
    if end - start > 1 and text[start] in "\"'" and text[end - 1] == text[start]:
        return start + 1, end - 1
    return span


def _apart(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for start, end in spans:
        if joined and start < joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        elif start < end:
            joined.append((start, end))
    return joined


def _is_shown(value: str) -> bool:
    """Tell whether a value needs no mask: a shell variable, or a masked text."""
    return value in {"", MASK} or _REFERENCE.fullmatch(value) is not None


def _in_words(words: tuple[str, ...], depth: int = 0) -> Iterator[str]:
    """Yield the values as the program gets them, each in a word of its own."""
    for at, word in enumerate(words):
        name, equals, value = word.partition("=")
        is_option = name.startswith("-")
        if not equals and is_option and at + 1 < len(words):
            value = words[at + 1]
        if (
            (equals or (is_option and not value.startswith("-")))
            and _WHOLE_NAME.fullmatch(name)
            and _is_secret(name.lstrip("-"), value, variable=not is_option)
        ):
            yield value
        if depth < _DEEPEST and any(blank in word for blank in " \t\n"):
            yield from _in_words(split(word), depth + 1)


def _found(text: str) -> set[str]:
    values = {text[start:end] for start, end in _spans(text)}
    if _QUOTES.search(text):  # else the text shows the words as they are
        values.update(_in_words(split(text)))
    return {value for value in values if not _is_shown(value)}


@lru_cache(maxsize=512)
def masked_command(text: str) -> str:
    """Mask the secrets in a command; its lines and quotes stay as they are."""
    if not _HINTS.search(text):
        return text
    shown = text
    for start, end in reversed(_spans(text)):
        if not _is_shown(text[start:end]):
            shown = f"{shown[:start]}{MASK}{shown[end:]}"
    left = {value for value in _in_words(split(shown)) if not _is_shown(value)}
    if left:  # quoted in a way that the text does not show
        words = [_without(word, left) for word in split(shown)]
        shown = shlex.join(words)
    return shown


def shown_command(plan: Plan, text: str) -> str:
    """Mask every secret of the plan and of the text itself, a command or an address."""
    return redact(plan, masked_command(text))


def _without(word: str, values: set[str]) -> str:
    for value in sorted(values, key=len, reverse=True):
        word = word.replace(value, MASK)
    return word


def values_in(texts: Iterable[str], *, names: Iterable[str] = ()) -> set[str]:
    """Collect the values that have to be masked everywhere: in logs, messages and pages.

    A value that is an ordinary word, short, or part of one of *names* (ids of
    models) is masked together with its option only.
    """
    public = "\n".join(names)
    found: set[str] = set()
    for text in dict.fromkeys(texts):
        if _HINTS.search(text):
            for value in _found(text):
                masks = {part for part in (value, *value.split(",")) if _is_special(part)}
                found |= {part for part in masks if part not in public}
                if value not in found:
                    found.update(_with_option(value, text))
    return found


def _is_special(value: str) -> bool:
    return len(value) >= _SHORTEST and is_secret(value) and value.lower() not in _ORDINARY


def _with_option(value: str, text: str) -> Iterator[str]:
    """Yield the option with its value, as a server may print its own command."""
    for match in re.finditer(rf"(-{{0,2}}{_NAME})[= ]{re.escape(value)}(?![\w-])", text):
        name = match[1]
        is_option = name.startswith("-")
        if _is_secret(name.lstrip("-"), value, variable=not is_option):
            yield f"{name}={value}"
            if is_option:
                yield f"{name} {value}"
