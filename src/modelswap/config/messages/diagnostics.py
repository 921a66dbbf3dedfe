"""Problems are reported by path; the place in the file is looked up only when something is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from modelswap.config.tree.node import locate, node_at
from modelswap.deferred import dataclass

from .found_value import describe_node, describe_text

if TYPE_CHECKING:
    from modelswap.config.tree.node import Map, Path

    from .found_value import FoundValue
    from .report import Details, Report


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """A report, and the tree in which its paths stand."""

    root: Map
    report: Report

    def problem(self, path: Path, message: str, hint: str = "", **more: Unpack[Details]) -> None:
        if not self.report.is_wrong(path):
            self.report.problem(locate(self.root, path), path, message, hint, **more)

    def warn(self, path: Path, message: str, hint: str = "", **more: Unpack[Details]) -> None:
        if not self.report.is_wrong(path):
            self.report.warn(locate(self.root, path), path, message, hint, **more)

    def missing(self, path: Path, what: str, seen: FoundValue, why: str) -> None:
        mark, message = locate(self.root, path), f"expected {what} on this machine"
        self.report.warn(mark, path, message, seen=seen, then=why, of_machine=True)

    def expected(self, path: Path, what: str, hint: str = "", *, value: str | None = None) -> None:
        """Report a mistake: what was expected at `path`, and what was found there.

        `value`: of a list's item, since nulls that were left out shift its place in the list.
        """
        seen = self._at(path) if value is None else describe_text(value, path)
        self.problem(path, f"expected {what}", hint, seen=seen)

    def tolerated(
        self, path: Path, what: str, then: str, hint: str = "", *, value: str | None = None
    ) -> None:
        """Warn of a value that is accepted with another meaning, or left out; `value` as above."""
        seen = self._at(path) if value is None else describe_text(value, path)
        self.warn(path, f"expected {what}", hint, seen=seen, then=then)

    def _at(self, path: Path) -> FoundValue:
        return describe_node(node_at(self.root, path), path, with_kind=False)
