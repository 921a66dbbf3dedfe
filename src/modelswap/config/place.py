"""Reporting by path: the place in the file is looked up when something is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .node import locate

if TYPE_CHECKING:
    from .decode import Report
    from .node import Map, Path


@dataclass(frozen=True, slots=True)
class Places:
    """A report, and the tree in which its paths stand."""

    root: Map
    report: Report

    def problem(self, path: Path, message: str, hint: str = "") -> None:
        self.report.problem(locate(self.root, path), path, message, hint)

    def warn(self, path: Path, message: str, hint: str = "") -> None:
        self.report.warn(locate(self.root, path), path, message, hint)
