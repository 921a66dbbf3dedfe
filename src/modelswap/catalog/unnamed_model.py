"""What is known of a model before all models are known, which is when its name is decided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .names import NameChoice, meaningful, tagged, typed

if TYPE_CHECKING:
    from .files import Identity
    from .found import FoundModel, ModelSource


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository of Hugging Face that a folder was downloaded from."""

    owner: str
    name: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where a folder lies."""

    source: ModelSource
    root: str
    """Name of the folder that was asked for."""
    parts: tuple[str, ...]
    """Folders below it."""
    repository: Repository | None = None

    @property
    def title(self) -> str:
        """The name of the innermost folder that says something; empty for none."""
        outer = () if self.repository is None else (self.repository.name,)
        names = map(meaningful, (*reversed(self.parts), *outer))
        return next((name for name in names if name), "")


@dataclass(frozen=True, slots=True)
class UnnamedModel:
    """A model without its id and aliases."""

    model: FoundModel
    choice: NameChoice
    identity: Identity
    """Of its first file: two paths to it are one model."""
    is_link: bool = False
    is_shared: bool = False
    """Whether other models may use the same file, as in Ollama's store."""


def choose(
    place: Place, stem: str, base: str, tag: str, path: str, *, alone: bool, is_broken: bool
) -> NameChoice:
    """Return the names of a model in a folder; `alone`: no other model is in it."""
    name = tagged(base, tag)
    owner = place.repository.owner if place.repository else _owner(place, base)
    below = "/".join(filter(None, map(typed, (*place.parts, stem))))
    longer = [f"{typed(owner)}/{name}", below, f"{typed(place.root)}/{below}"]
    aliases = [stem]
    if alone and place.title:
        aliases.append(place.title)
    if place.repository is not None:
        repository = f"{place.repository.owner}/{place.repository.name}"
        aliases += [tagged(repository, tag.upper()), repository]
    return NameChoice(
        base=base, tag=tag, longer=tuple(name for name in longer if name.strip("/")),
        aliases=tuple(aliases), path=path, is_broken=is_broken,
    )  # fmt: skip


def _owner(place: Place, base: str) -> str:
    """Return the nearest folder that is called otherwise than the model."""
    others = (part for part in reversed(place.parts) if meaningful(part) not in {"", base})
    return next(others, place.root)
