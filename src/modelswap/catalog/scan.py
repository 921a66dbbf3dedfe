"""Looks into folders and lists the models in them, each with a name of its own.

Guarantees: nothing is written but the cache of headers; a file or folder that cannot be read is a
problem in the catalog and changes nothing for the others; the same files give the same catalog.
Does not: run on the event loop. It reads disks; a scan of a thousand files takes a second.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .files import Remark, Walk
from .found import ModelSource
from .header_cache import HeaderCache
from .header_reader import HeaderReader
from .models import gguf_files, safetensors_folder
from .models.traits import Role
from .names import assign, stem_parts
from .stores import hugging_face, ollama
from .unnamed_model import Place, Repository

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .files import Folder
    from .found import FoundModel
    from .models.projectors import Projector
    from .roots import Root
    from .stores.hugging_face import CachedRepository
    from .unnamed_model import UnnamedModel

    ProjectorsByFolder = dict[tuple[str, ...], list[Projector]]

_PUBLISHED: Final = 2
"""Folders of LM Studio's layout: publisher and repository."""

_MOST_PATHS: Final = 8
"""Other paths to a file whose names are aliases."""


@dataclass(frozen=True, slots=True)
class Catalog:
    models: tuple[FoundModel, ...]
    """By id; those that cannot be served too, with their `problem`."""
    problems: tuple[Remark, ...]
    """What could not be looked at, and broken files that belong to no model."""
    set_aside: tuple[Remark, ...]
    """Files that are no models by themselves, and why: projectors, drafts, adapters, downloads."""


def scan(roots: Iterable[Root], cache: HeaderCache | None = None) -> Catalog:
    """Return what lies below the roots; a file that two roots hold is listed once."""
    cache = HeaderCache() if cache is None else cache
    run = _Scan(HeaderReader(cache))
    for index, root in enumerate(roots):
        run.look(root, index)
    catalog = run.catalog()
    try:
        cache.save()
    except OSError as problem:
        text = f"the cache of headers cannot be written: {problem.strerror}"
        return replace(catalog, problems=(*catalog.problems, Remark(str(problem.filename), text)))
    return catalog


class _Scan:
    def __init__(self, reader: HeaderReader) -> None:
        self._reader = reader
        self._candidates: list[tuple[int, UnnamedModel]] = []
        self._problems: list[Remark] = []
        self._set_aside: list[Remark] = []
        self._projectors: list[list[Projector]] = []
        """Those of each folder."""
        self._paired: set[Path | None] = set()
        """Projectors of models, of models too that are not listed for another path to them."""

    def look(self, root: Root, index: int) -> None:
        path = root.path.absolute()
        found = self._tree(str(path), root.source, path.name)
        self._candidates += [(index, candidate) for candidate in found]

    def catalog(self) -> Catalog:
        kept = _each_once(self._candidates)
        names = assign([candidate.choice for candidate in kept])
        models = [
            replace(candidate.model, id=name, aliases=aliases)
            for candidate, (name, aliases) in zip(kept, names, strict=True)
        ]
        return Catalog(
            models=tuple(sorted(models, key=lambda model: model.id)),
            problems=_sorted(self._problems),
            set_aside=_sorted(self._set_aside + _unpaired(self._projectors, self._paired)),
        )

    def _tree(
        self,
        path: str,
        source: ModelSource,
        title: str,
        repository: Repository | None = None,
        others: ProjectorsByFolder | None = None,
    ) -> list[UnnamedModel]:
        """Return the models of a root, or of one snapshot of a repository.

        `others` are projectors of the same folders in other snapshots.
        """
        candidates: list[UnnamedModel] = []
        projectors: ProjectorsByFolder = dict(others or {})
        walk = Walk(path)
        for folder in walk:
            place = Place(source, title, folder.parts, repository or _repository(source, folder))
            if ollama.is_store(folder):
                walk.prune(folder)
                candidates += self._ollama(folder)
            elif hugging_face.is_repository(folder):
                walk.prune(folder)
                candidates += self._hugging_face(folder)
            elif hugging_face.is_other(folder):
                walk.prune(folder)
            else:
                candidates += self._folder(walk, folder, place, projectors)
        self._problems += walk.remarks
        return candidates

    def _folder(
        self, walk: Walk, folder: Folder, place: Place, projectors: ProjectorsByFolder
    ) -> list[UnnamedModel]:
        self._set_aside += [
            Remark(str(Path(folder.path, name)), "is being downloaded")
            for name in folder.unfinished
            if ".gguf" in name.lower() or ".safetensors" in name.lower()
        ]
        if not folder.files:
            return []
        around = gguf_files.is_variant(place) and projectors.get(folder.parts[:-1])
        inherited = around or projectors.get(folder.parts, [])
        found = gguf_files.find_models(folder, place, self._reader.gguf, inherited)
        self._paired.update(candidate.model.mmproj for candidate in found.candidates)
        if found.projectors:
            projectors[folder.parts] = found.projectors
            self._projectors.append(found.projectors)
        self._problems += found.problems
        self._set_aside += found.set_aside
        verdict = safetensors_folder.find_model(folder, place, self._reader.safetensors)
        if verdict.hides_folders:
            walk.prune(folder)
        if verdict.set_aside is not None:
            self._set_aside.append(verdict.set_aside)
        return found.candidates + ([verdict.candidate] if verdict.candidate else [])

    def _ollama(self, folder: Folder) -> tuple[UnnamedModel, ...]:
        found = ollama.find_models(Path(folder.path), self._reader.gguf)
        self._problems += found.problems
        self._set_aside += found.set_aside
        return found.candidates

    def _hugging_face(self, folder: Folder) -> list[UnnamedModel]:
        """Return the models of a repository: of each file the best revision."""
        cached = hugging_face.open_repository(folder)
        self._set_aside += cached.remarks
        others = self._all_projectors(cached) if len(cached.snapshots) > 1 else {}
        best: dict[str, UnnamedModel] = {}
        for snapshot in cached.snapshots:
            for candidate in self._snapshot(snapshot, cached.repository, others):
                key = str(candidate.model.path.relative_to(snapshot))
                known = best.get(key)
                if known is None or (known.model.problem and not candidate.model.problem):
                    best[key] = candidate
        return list(best.values())

    def _snapshot(
        self, path: str, repository: Repository, others: ProjectorsByFolder
    ) -> list[UnnamedModel]:
        return self._tree(path, ModelSource.HUGGING_FACE, repository.name, repository, others)

    def _all_projectors(self, cached: CachedRepository) -> ProjectorsByFolder:
        """Return the projectors of all snapshots: one may have been downloaded later than its model."""
        found: ProjectorsByFolder = {}
        for snapshot in reversed(cached.snapshots):
            probe = _Scan(self._reader)
            probe._snapshot(snapshot, cached.repository, {})
            for projectors in probe._projectors:
                folder = Path(projectors[0].file.path).parent.relative_to(snapshot)
                found[folder.parts] = projectors
        return found


def _repository(source: ModelSource, folder: Folder) -> Repository | None:
    """Return the repository that LM Studio's folders `PUBLISHER/REPOSITORY` name."""
    if source is not ModelSource.LM_STUDIO or len(folder.parts) < _PUBLISHED:
        return None
    return Repository(*folder.parts[:_PUBLISHED])


def _each_once(found: list[tuple[int, UnnamedModel]]) -> list[UnnamedModel]:
    """Return each model once; of several paths to one file, the one that names it best."""
    same: dict[object, list[tuple[int, UnnamedModel]]] = defaultdict(list)
    kept: list[UnnamedModel] = []
    for index, candidate in found:
        if candidate.is_shared:
            kept.append(candidate)
        else:
            same[candidate.identity, candidate.model.format].append((index, candidate))
    for paths in same.values():
        paths.sort(key=_preference)
        first, *others = (candidate for _, candidate in paths)
        aliases = [alias for other in others[:_MOST_PATHS] for alias in other.choice.aliases]
        choice = replace(first.choice, aliases=(*first.choice.aliases, *aliases))
        kept.append(replace(first, choice=choice))
    return kept


def _preference(found: tuple[int, UnnamedModel]) -> tuple[bool, bool, bool, int, str]:
    index, candidate = found
    says_nothing = not stem_parts(candidate.model.path.stem).base
    has_problem = bool(candidate.model.problem)
    return (has_problem, says_nothing, candidate.is_link, index, str(candidate.model.path))


def _unpaired(projectors: list[list[Projector]], paired: set[Path | None]) -> list[Remark]:
    """Return the projectors of the folders in which none is used."""
    return [
        Remark(
            projector.file.path, f"{Role.PROJECTOR.value}, and none beside it is known to be its"
        )
        for together in projectors
        if not any(Path(projector.file.path) in paired for projector in together)
        for projector in together
    ]


def _sorted(remarks: list[Remark]) -> tuple[Remark, ...]:
    return tuple(sorted(set(remarks), key=lambda remark: (remark.path, remark.text)))
