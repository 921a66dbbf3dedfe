"""What the configuration itself says of models: their names and their files. Found models give way."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from modelswap.config.commands.words import split
from modelswap.config.macros.macros import id_keys
from modelswap.config.tree.node import Map, Scalar, Seq

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from modelswap.config.macros.expansion import Template
    from modelswap.config.tree.node import Node

_WEIGHTS: Final = (".gguf", ".safetensors")


class Written:
    """Names and files that the configuration uses."""

    def __init__(self, top: Map, models: Sequence[Template], *, windows: bool = False) -> None:
        self.names = {name: f"the configuration has {what}" for name, what in _names(top, models)}
        """Each name: why no found model may have it."""
        self._users = {
            file: one.id for one in models for file in _files_of(one.tree, windows=windows)
        }

    def user_of(self, files: Iterable[Path]) -> str | None:
        """Return the id of the written model whose command holds one of the files."""
        real = (self._users.get(os.path.realpath(file)) for file in files)
        return next((user for user in real if user is not None), None)


def _names(top: Map, models: Sequence[Template]) -> Iterator[tuple[str, str]]:
    """Yield each name with what it is; a later meaning of the same name wins."""
    for peer in _entries(top.get("peers")):
        for model in _texts(peer[1].get("models") if isinstance(peer[1], Map) else None):
            yield model, f"it as a model of the peer {peer[0]!r}"
            yield f"{peer[0]}/{model}", f"it as a model of the peer {peer[0]!r}"
    for name, _ in _entries(top.get("selectors")):
        yield name, "a selector of this name"
    for one in models:
        for alias in _texts(one.tree.get("aliases")):
            yield alias, f"this name as an alias of {one.id!r}"
        for entry in id_keys(one.tree).entries:
            yield entry.key, f"this name as an alias of {one.id!r}"
    for one in models:
        yield one.id, "a model of this name"


def _entries(node: Node | None) -> Iterator[tuple[str, Node]]:
    for entry in node.entries if isinstance(node, Map) else ():
        yield entry.key, entry.value


def _texts(node: Node | None) -> Iterator[str]:
    for item in node.items if isinstance(node, Seq) else ():
        if isinstance(item, Scalar):
            yield item.text


def _files_of(model: Map, *, windows: bool) -> Iterator[str]:
    """Yield the real paths of what a command's words name, also behind `--model=`."""
    command = model.get("cmd")
    words = split(command.text, windows=windows) if isinstance(command, Scalar) else ()
    for word in words:
        for path in (word, word.partition("=")[2]):
            if path.endswith(_WEIGHTS) or os.sep in path:
                try:
                    yield os.path.realpath(path)
                except (OSError, ValueError):
                    continue
