"""What looks like a macro and is none: `{PORT}`, `$PORT`, `%PORT%`, `${env:HOME}`.

Such a text goes to the program as it is. A text that holds the real macro, too, is taken for meant.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from modelswap.config.messages.hints import normalised

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_WORD: Final = r"\s*\.?([A-Za-z0-9_-]+)\s*"
_FORMS = re.compile(
    rf"\$?\{{\{{{_WORD}\}}\}}"  # {{PORT}}, ${{PORT}}
    rf"|(?<![\${{])\{{{_WORD}\}}(?!\}})"  # {PORT}
    rf"|\$\{{(?:macros?\.)?{_WORD}(?::?[-=?+][^}}]*)?\}}"  # ${ PORT }, ${PORT:-8080}
    rf"|\$\({_WORD}\)"  # $(PORT)
    rf"|%{_WORD}%"
    rf"|<{_WORD}>"
    rf"|\$([A-Za-z_][A-Za-z0-9_]*)"
)
_REAL = re.compile(r"\$\{[A-Za-z0-9_-]+\}")
_ENV = re.compile(r"\$\{?(?i:env)[:.]\s*([A-Za-z_][A-Za-z0-9_]*)\}?")
_POWERSHELL = re.compile(r"\b(?:powershell|pwsh)\b", re.IGNORECASE)
"""Where it runs the command, `$env:HOME` is its own syntax."""
_BUILT_IN: Final = {"port": "PORT", "modelid": "MODEL_ID", "pid": "PID"}


def foreign_placeholders(text: str, names: Collection[str]) -> Iterator[tuple[str, str]]:
    """Each text that stands there for a macro, and the macro as it is written."""
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
    """`${env:HOME}`, `$env:HOME`: as above, for `${env.HOME}`."""
    if "$" not in text or _POWERSHELL.search(text):
        return
    for match in _ENV.finditer(text):
        yield match[0], f"${{env.{match[1]}}}"
