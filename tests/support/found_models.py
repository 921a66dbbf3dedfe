"""Found models without files, and configurations with them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelswap.catalog.found import FoundModel, ModelFormat, ModelSource
from modelswap.config.discover.disk.places import Discovery, Findings, Places
from modelswap.units import Bytes
from support.config import load_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modelswap.config.load import Loaded

_PLAIN = FoundModel(
    id="plain",
    aliases=(),
    path=Path("/models/plain.gguf"),
    files=(),
    size=Bytes(3 << 30),
    format=ModelFormat.GGUF,
    source=ModelSource.FOLDER,
    architecture="llama",
)


def found_model(name: str = "plain", **more: Any) -> FoundModel:
    """Return a GGUF model that chats, at `/models/NAME.gguf`, with any fields changed."""
    path = more.pop("path", Path(f"/models/{name}.gguf"))
    model = replace(_PLAIN, id=name, path=path, files=(path,))
    return replace(model, **more)


@dataclass
class ListedModels:
    """Finds always the same models; records where it was to look."""

    models: tuple[FoundModel, ...]
    problems: tuple[str, ...] = ()
    places: Places | None = None

    def __call__(self, places: Places) -> Findings:
        self.places = places
        return Findings(self.models, self.problems)


def load_found(
    text: str,
    *models: FoundModel,
    presets: tuple[Path, ...] = (),
    folders: tuple[Path, ...] = (),
    env: Mapping[str, str] | None = None,
    find: ListedModels | None = None,
) -> Loaded:
    """Load a configuration from its text where these models are found."""
    listed = find or ListedModels(models)
    discovery = Discovery(folders, presets, usual=not folders, find=listed)
    return load_text(text, env, discovery=discovery)
