"""Problems and warnings as they are printed: in the file's order, by the file's own paths.

Guarantees: no secret is in a message, a hint or a path; each is printed once.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from modelswap.config.redact import masked

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modelswap.config.plan import Secret
    from modelswap.config.tree.node import Path

    from .report import Problem


def presentable(
    found: list[Problem], secrets: tuple[Secret, ...], file_paths: Mapping[Path, Path]
) -> tuple[Problem, ...]:
    """Mask secrets, and replace our paths by the file's (`file_paths`: ours → the file's)."""

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
