"""Problems and warnings are values, collected on the way from the files to the plan.

Guarantees: a problem knows its place in the file, its path, what was expected and what was found. As they
are printed (`presentable`), no secret is in a message, a hint or a path, and each is there once.
"""

from __future__ import annotations

from dataclasses import field, replace
from typing import TYPE_CHECKING, TypedDict, Unpack

from modelswap.config.redact import masked
from modelswap.config.tree.node import Mark, Node, Path, dotted
from modelswap.deferred import dataclass

from .found_value import FoundValue, describe_node

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from modelswap.config.plan import Secret


@dataclass(frozen=True, slots=True)
class Problem:
    mark: Mark
    path: Path
    message: str
    hint: str = ""
    seen: FoundValue | None = None
    """The value there, kept apart until the secrets that may be in it are known."""
    of_machine: bool = field(default=False, kw_only=True)
    """A fact of this machine, not of the file."""
    then: str = ""
    """What becomes of a value that is not the expected one."""

    @property
    def key(self) -> str:
        return dotted(self.path)

    def sentence(self, mask: Callable[[str], str]) -> str:
        found = "" if self.seen is None else f"; found {self.seen.text(mask)}"
        return mask(self.message) + found + (f", {self.then}" if self.then else "")

    def __str__(self) -> str:
        where = f"{self.mark.file}:{self.mark.line}" if self.mark.line else self.mark.file
        parts = [part for part in (where, self.key, self.sentence(str)) if part]
        return _one_line(": ".join(parts) + (f" ({self.hint})" if self.hint else ""))


def _one_line(text: str) -> str:
    """Escape line breaks and control characters, which keys and file names may hold."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class Details(TypedDict, total=False):
    """What a problem may have beside its place and its text."""

    seen: FoundValue | None
    then: str
    of_machine: bool


@dataclass(slots=True)
class Report:
    problems: list[Problem] = field(default_factory=list[Problem])
    warnings: list[Problem] = field(default_factory=list[Problem])
    wrong: set[Path] = field(default_factory=set["Path"])
    """Paths of values with a wrong type: what follows from them is not reported."""
    misindented: set[str] = field(default_factory=set[str])
    """Names of models that stand where no model belongs: reported once, not at each use."""
    file_paths: dict[Path, Path] = field(default_factory=dict["Path", "Path"])
    """Paths of rewritten older forms: ours → the file's."""

    def problem(
        self, mark: Mark, path: Path, message: str, hint: str = "", **more: Unpack[Details]
    ) -> None:
        self.problems.append(Problem(mark, path, message, hint, **more))

    def warn(
        self, mark: Mark, path: Path, message: str, hint: str = "", **more: Unpack[Details]
    ) -> None:
        self.warnings.append(Problem(mark, path, message, hint, **more))

    def is_wrong(self, path: Path) -> bool:
        """Tell whether the value there, or one that holds it, has a wrong type."""
        return bool(self.wrong) and any(path[:n] in self.wrong for n in range(1, len(path) + 1))

    def is_misindented(self, name: str) -> bool:
        return name in self.misindented

    def expected(self, what: str, node: Node, path: Path, hint: str = "") -> None:
        """Report a value of a wrong type."""
        self.wrong.add(path)
        self.problem(node.mark, path, f"expected {what}", hint, seen=describe_node(node, path))


def presentable(
    found: list[Problem], secrets: tuple[Secret, ...], file_paths: Mapping[Path, Path]
) -> tuple[Problem, ...]:
    """Mask secrets, use the file's own paths (`file_paths`: ours → the file's), sort by place."""

    def mask(text: str) -> str:
        return masked(text, secrets)

    clean = dict.fromkeys(
        replace(
            one,
            path=tuple(
                part if isinstance(part, int) else mask(part)
                for part in _as_in_file(one.path, file_paths)
            ),
            message=one.sentence(mask),
            hint=mask(one.hint),
            seen=None,
            then="",
        )
        for one in found
    )
    return tuple(sorted(clean, key=lambda one: (one.mark.file, one.mark.line, one.mark.column)))


def _as_in_file(path: Path, file_paths: Mapping[Path, Path]) -> Path:
    for length in range(len(path), 0, -1):
        own = file_paths.get(path[:length])
        if own is not None:
            return (*own, *path[length:])
    return path
