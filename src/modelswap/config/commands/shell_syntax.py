"""Shell syntax is found in a command that no shell reads, with what to write instead. Pure.

Guarantees: quoted text is searched only for `$` in double quotes, as a shell does; the argument of
`sh -c` is left to the shell. No value of a variable is part of a message.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from modelswap.deferred import dataclass, regex

from .words import joined

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_OTHER_SHELLS: Final = frozenset({
    "ssh", "autossh", "mosh", "wsl", "su", "runuser", "script", "tmux", "nix-shell", "powershell",
    "pwsh", "cmd", "nu",
})  # fmt: skip
"""Programs that are shells of another kind, or pass their arguments to a shell."""
SHELLS: Final = frozenset({"sh", "bash", "dash", "zsh", "ksh", "ash", "fish"})
_LONG_WITH_WORD: Final = frozenset({"--rcfile", "--init-file"})
_TOKEN = regex(
    r"""(?P<blank>[ \t\n]+)|'(?P<single>[^']*)(?:'|\Z)|"(?P<double>(?:\\.|[^"\\])*)(?:"|\Z)"""
    r"""|\\(?P<escaped>.?)|(?P<plain>[^ \t\n'"\\]+)""",
    re.DOTALL,
)
_COVER: Final = "\0"
_ASSIGNMENT = regex(r"([A-Za-z_][A-Za-z0-9_]*)=")
_OPERATOR = regex(
    r"&&|\|\|?|\|&|;;?|&|\d*>>?(?:&[\d-]|\|)?|&>>?|<<?<?|\d*>>?[\w./~$&-].*|&>>?[\w./~$].*"
    r"|<[/~.$](?:.*[^>])?"  # not `</s>`, a token that ends a text
)
BUILT_IN: Final = frozenset({
    "cd", "export", "source", ".", "set", "unset", "ulimit", "umask", "exec", "eval", "alias",
    "trap", "if", "for", "while", "until", "case", "function", "pushd", "popd", "shopt", "declare",
    "local", "readonly",
})  # fmt: skip
_VARIABLE = regex(r"\$(?:\{([A-Za-z_]\w*)[^}]*\}|([A-Za-z_]\w*))")
_SUBSTITUTION = regex(r"\$\([^)\0]*\)?|`[^`\0]*`?")
_HOME = regex(r"(?:^|[=:,])~(?:/|$)")
_GLOB = regex(r"(?:^|=)(?!https?:)[^=\0]*/[^\0]*[*]|[*][^\0/]*\.(?:gguf|safetensors|bin|onnx)\b")
_PLACEHOLDER = regex(r"\$\{[A-Za-z0-9_-]+\}")
"""A macro; an unknown one is reported by the expansion."""
_IN_SHELL: Final = "write sh -c '…' around the command; exec before its program"


@dataclass(frozen=True, slots=True)
class Word:
    """One argument: its text, and the text with quoted parts covered."""

    text: str
    bare: str
    """Quoted and escaped characters covered."""
    expandable: str
    """Only text in single quotes and escaped text covered: a shell would expand the rest."""


def words(command: str) -> tuple[Word, ...]:
    """Split a command into the arguments that `words.split` makes on POSIX."""
    found: list[Word] = []
    parts: list[tuple[str, str, str]] = []
    for match in _TOKEN.finditer(joined(command)):
        kind, text = match.lastgroup, match[0]
        if kind == "blank":
            _end(parts, found)
        elif kind == "plain":
            parts.append((text, text, text))
        else:
            inner = match[kind or 0]
            if kind == "double":
                inner = re.sub(r'\\([$`"\\\n])', lambda one: one[1].strip("\n"), inner)
                open_ = re.sub(r"\\[$`]", _COVER * 2, match["double"])
                parts.append((inner, _COVER * len(inner), open_))
            else:
                parts.append((inner, _COVER * len(inner), _COVER * len(inner)))
    _end(parts, found)
    return tuple(found)


def _end(parts: list[tuple[str, str, str]], found: list[Word]) -> None:
    if parts:
        found.append(Word(*("".join(column) for column in zip(*parts, strict=True))))
        parts.clear()


def name_of(program: str) -> str:
    """Return a program's name without folder and `.exe`, in small letters."""
    return program.replace("\\", "/").rpartition("/")[2].lower().removesuffix(".exe")


def script_index(arguments: Sequence[str]) -> int | None:
    """Return the index of SCRIPT in `sh -c SCRIPT`; None when no shell runs one."""
    for index, word in enumerate(arguments):
        option, _, value = word.partition("=")
        is_entrypoint = option == "--entrypoint" or arguments[max(index - 1, 0)] == "--entrypoint"
        if name_of(value if value and is_entrypoint else word) not in SHELLS:
            continue
        found = _script_after(arguments, index + 1, is_entrypoint=is_entrypoint)
        if found is not None:
            return found
    return None


def _script_after(arguments: Sequence[str], at: int, *, is_entrypoint: bool) -> int | None:
    """*is_entrypoint*: of a container, whose options and image come before those of the shell."""
    while at < len(arguments) - 1:
        option = arguments[at]
        if not option.startswith(("-", "+")) and not is_entrypoint:
            return None
        at += 1
        letters = "" if option.startswith("--") else option[1:]
        takes_word = option in _LONG_WITH_WORD or "o" in letters.lower()  # `-euo pipefail`
        if "c" in letters and option.startswith("-"):
            return at + takes_word
        at += takes_word and not is_entrypoint
    return None


def findings(command: str) -> Iterator[tuple[str, str, str]]:
    """Yield what was found, what becomes of it, and what to write instead; each once."""
    found = words(command)
    if not found:
        return
    script = script_index([word.text for word in found])
    yield from _first(found[0])
    seen: set[str] = set()
    for index, word in enumerate(found):
        if name_of(word.text) in _OTHER_SHELLS:
            return
        if index == script:
            continue
        for what, then, hint in _of_word(word):
            if what not in seen:
                seen.add(what)
                yield what, then, hint


def _first(word: Word) -> Iterator[tuple[str, str, str]]:
    assignment = _ASSIGNMENT.match(word.bare)
    if assignment:
        shown = f"{assignment[1]}=…"
        yield shown, "which is taken for the program's name", f'write env: ["{shown}"]'
    elif word.bare in BUILT_IN:
        yield word.bare, "which only a shell knows", _IN_SHELL


def _of_word(word: Word) -> Iterator[tuple[str, str, str]]:
    if _OPERATOR.fullmatch(word.bare):
        yield word.bare, "which the program gets as an argument", _IN_SHELL
    elif (len(word.bare) > 1 and word.bare.endswith(";")) or "&&" in word.bare:
        what = ";" if word.bare.endswith(";") else "&&"
        yield what, "which the program gets as part of an argument", _IN_SHELL
    for match in _VARIABLE.finditer(word.expandable):
        name = match[1] or match[2]
        if not _PLACEHOLDER.fullmatch(match[0]):
            yield match[0], "which stays as it is", f"write ${{env.{name}}}"
    for match in _SUBSTITUTION.finditer(word.expandable):
        yield match[0], "which stays as it is", _IN_SHELL
    if _HOME.search(word.bare):
        yield "~", "which stays as it is", "write ${env.HOME}"
    if _GLOB.search(word.bare):
        yield "*", "which names no files here", "write the files' names, or sh -c '…'"
