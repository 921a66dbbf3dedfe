"""Configurations from texts, without a file system where none is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from modelswap.config.discover.disk.places import Discovery, Findings
from modelswap.config.load import Loaded, load_source
from modelswap.config.source.source import Environment, Source, read_text
from modelswap.config.tree.node import Map, Mark

if TYPE_CHECKING:
    from collections.abc import Mapping

NOTHING_THERE = Discovery(find=lambda _: Findings())
"""No folder is looked at, whatever a text says."""


class LoadText(Protocol):
    def __call__(
        self, text: str, env: Mapping[str, str] | None = None, *, windows: bool = False
    ) -> Loaded: ...


def load_text(
    text: str,
    env: Mapping[str, str] | None = None,
    *,
    windows: bool = False,
    discovery: Discovery = NOTHING_THERE,
) -> Loaded:
    """Load a configuration from its text; `env` holds the variables that it may use."""
    environment = Environment(env or {})
    root, problems = read_text(text, "c.yaml", environment)
    found = (*problems, *environment.problems)
    source = Source(root or Map(Mark("c.yaml")), ("c.yaml",), frozenset(environment.used), found)
    return load_source(source, windows=windows, discovery=discovery)
