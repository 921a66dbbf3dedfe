"""Placeholders in the syntax of other programs are found: `{PORT}`, `$PORT`, `%PORT%`, `${env:HOME}`.

Such a text goes to the program as it is. A text that also holds the real macro is taken to be intended.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from modelswap.config.messages.hints import normalised
from modelswap.deferred import regex

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_WORD: Final = r"\s*\.?([A-Za-z0-9_-]+)\s*"
_FORMS = regex(
    rf"\$?\{{\{{{_WORD}\}}\}}"  # {{PORT}}, ${{PORT}}
    rf"|(?<![\${{])\{{{_WORD}\}}(?!\}})"  # {PORT}
    rf"|\$\{{(?:macros?\.)?{_WORD}(?::?[-=?+][^}}]*)?\}}"  # ${ PORT }, ${PORT:-8080}
    rf"|\$\({_WORD}\)"  # $(PORT)
    rf"|%{_WORD}%"
    rf"|<{_WORD}>"
    rf"|\$([A-Za-z_][A-Za-z0-9_]*)"
)
_REAL = regex(r"\$\{[A-Za-z0-9_-]+\}")
_ENV = regex(r"\$\{?(?i:env)[:.]\s*([A-Za-z_][A-Za-z0-9_]*)\}?")
_POWERSHELL = regex(r"\b(?:powershell|pwsh)\b", re.IGNORECASE)
"""In its commands `$env:HOME` is its own syntax."""
_BUILT_IN: Final = {"port": "PORT", "modelid": "MODEL_ID", "pid": "PID"}


def foreign_placeholders(text: str, names: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield each text that is meant as a macro, and the macro as it is written here."""
    if not any(char in text for char in "{$%<"):
        return
    for match in _FORMS.finditer(text):
        written = match[0]
        if _REAL.fullmatch(written):
            continue  # a real placeholder: filled, or reported as unknown
        word = next(group for group in match.groups() if group is not None)
        name = word if word in names else _BUILT_IN.get(normalised(word))
        if name is None or f"${{{name}}}" in text or f"{word}=" in text:
            continue
        yield written, f"${{{name}}}"


def foreign_environment(text: str) -> Iterator[tuple[str, str]]:
    """Yield `${env:HOME}`, `$env:HOME` and the like, and `${env.HOME}`, which is written here."""
    if "$" not in text or _POWERSHELL.search(text):
        return
    for match in _ENV.finditer(text):
        yield match[0], f"${{env.{match[1]}}}"
