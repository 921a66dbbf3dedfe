"""Names across the file: aliases, peers, selectors, profiles, preload.

Law: a model id wins over an alias; two things that a request could mean by one
name are a mistake, unless llama-swap lets one of them win.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from modelswap.core.spec import ModelId

from .access import upstream_key
from .decode import nearest
from .models import automatic_aliases, filters, timeouts, upstream_url
from .plan import Peer, Profile, Selector, Timeouts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .node import Path
    from .place import Places
    from .schema import RawModel, RawPeer, RawProfile, RawSelector

STRATEGIES: Final = ("warm", "pin", "spillover")


def aliases(models: Mapping[str, RawModel], places: Places) -> dict[str, ModelId]:
    """Alias → model: the explicit ones first, then those of `setParamsByID`."""
    found: dict[str, ModelId] = {}
    for name, raw in models.items():
        for index, alias in enumerate(raw.aliases):
            if alias in found:
                path = ("models", name, "aliases", index)
                places.problem(path, f"the alias {alias!r} is given twice", f"to {found[alias]!r}")
            found.setdefault(alias, ModelId(name))
    for name, raw in models.items():
        for alias in automatic_aliases(name, raw):
            place: Path = ("models", name, "filters", "setParamsByID", alias)
            if alias in models:
                places.problem(place, f"{alias!r} is another model")
            elif found.setdefault(alias, ModelId(name)) != name:
                places.problem(place, f"{alias!r} is an alias of {found[alias]!r}")
    return {alias: model for alias, model in found.items() if alias not in models}


def peers(raw: Mapping[str, RawPeer | None], places: Places) -> dict[str, Peer]:
    """The other servers; each needs an address and models."""
    found: dict[str, Peer] = {}
    for name, one in raw.items():
        path: Path = ("peers", name)
        if one is None:
            places.warn(path, "an empty peer has no effect")
            continue
        if not one.proxy:
            places.problem((*path, "proxy"), "a peer needs a proxy: the URL of the other server")
        if not one.models:
            places.problem((*path, "models"), "a peer needs a list of models")
        found[name] = Peer(
            id=name,
            proxy=upstream_url(one.proxy, (*path, "proxy"), places, strict=True),
            models=tuple(dict.fromkeys(one.models)),
            api_key=upstream_key(one.api_key, (*path, "apiKey"), places),
            filters=filters(one.filters),
            timeouts=timeouts(one.timeouts, _peer_timeouts(), path, places),
            forward_authorization=one.forward_authorization,
            trust_page=one.trust_page,
        )
    return found


def _peer_timeouts() -> Timeouts:
    return Peer(id="", proxy="", models=()).timeouts


class Directory:
    """Everything that a name can mean."""

    def __init__(
        self,
        models: Iterable[str],
        alias_of: Mapping[str, ModelId],
        offered: Mapping[str, Peer],
    ) -> None:
        self.models = frozenset(models)
        self.alias_of = alias_of
        self.qualified: dict[str, str] = {}
        bare: dict[str, set[str]] = {}
        for peer in offered.values():
            for model in peer.models:
                self.qualified.setdefault(f"{peer.id}/{model}", peer.id)
                bare.setdefault(model, set()).add(peer.id)
        self.bare = {model for model, ids in bare.items() if len(ids) == 1}
        self._known = [*self.models, *alias_of, *self.qualified, *self.bare]

    def local(self, name: str) -> ModelId | None:
        return ModelId(name) if name in self.models else self.alias_of.get(name)

    def is_known(self, name: str) -> bool:
        return self.local(name) is not None or name in self.qualified or name in self.bare

    def hint(self, name: str) -> str:
        return nearest(name, self._known)


def check_peer_names(directory: Directory, offered: Mapping[str, Peer], places: Places) -> None:
    """`peer/model` belongs to one peer's model, and to nothing else."""
    for peer in offered.values():
        for model in peer.models:
            name = f"{peer.id}/{model}"
            path: Path = ("peers", peer.id, "models")
            if directory.qualified[name] != peer.id:
                message = f"{name!r} is offered by {directory.qualified[name]!r}, too"
                places.problem(path, message)
            if directory.local(name) is not None:
                places.problem(path, f"{name!r} is the name of a local model")


def selectors(
    raw: Mapping[str, RawSelector | None], directory: Directory, places: Places
) -> dict[str, Selector]:
    """The selectors, their targets checked; never one of another."""
    found: dict[str, Selector] = {}
    for name, one in raw.items():
        path: Path = ("selectors", name)
        if not name.strip():
            places.problem(path, "a selector needs a name")
        if directory.local(name) is not None or name in directory.qualified:
            places.problem(path, f"{name!r} is the name of a model")
        if one is None:
            places.problem(path, "a selector needs a strategy and targets")
            continue
        _check_selector(one, path, raw, directory, places)
        found[name] = Selector(
            id=name,
            strategy=one.strategy,
            targets=one.targets,
            spillover=one.settings.spillover,
            name=one.name.strip(),
            description=one.description.strip(),
            unlisted=one.unlisted,
            metadata=one.metadata,
        )
    return found


def _check_selector(
    one: RawSelector,
    path: Path,
    selectors_: Mapping[str, RawSelector | None],
    directory: Directory,
    places: Places,
) -> None:
    if one.strategy not in STRATEGIES:
        expected = f"expected one of: {', '.join(STRATEGIES)}"
        places.problem((*path, "strategy"), expected, nearest(one.strategy, STRATEGIES))
    if not one.targets:
        places.problem((*path, "targets"), "a selector needs at least one target")
    if one.strategy == "spillover" and one.settings.spillover < 1:
        places.problem((*path, "settings", "spillover"), "must be at least 1")
    seen: set[str] = set()
    for index, target in enumerate(one.targets):
        place = (*path, "targets", index)
        real = directory.local(target)
        if not directory.is_known(target):
            is_selector = target in selectors_
            what = "is a selector itself" if is_selector else "is neither a model nor a peer's"
            places.problem(place, f"{target!r} {what}", directory.hint(target))
        elif one.strategy == "warm" and real is None:
            places.problem(place, f"{target!r} is a peer's: warm needs local models")
        if one.strategy == "spillover" and (real or target) in seen:
            places.problem(place, f"{target!r} is the same model as an earlier target")
        seen.add(real or target)


def profiles(
    raw: Mapping[str, RawProfile | None],
    selectors_: Mapping[str, Selector],
    directory: Directory,
    places: Places,
) -> dict[str, Profile]:
    """The sets of pins, their targets checked; a pin is never the target of another."""
    found: dict[str, Profile] = {}
    for name, one in raw.items():
        path: Path = ("profiles", name)
        if not name.strip():
            places.problem(path, "a profile needs a name")
        if one is None or not one.pins:
            places.problem(path, "a profile needs pins")
            continue
        for pin, target in one.pins.items():
            place = (*path, "pins", pin)
            if not pin.strip():
                places.problem(place, "a pin needs a name")
            if pin in directory.qualified:
                places.problem(place, f"{pin!r} is the name of a peer's model")
            if target and not directory.is_known(target) and target not in selectors_:
                message = f"{target!r} is neither a model, a peer's, nor a selector"
                places.problem(place, message, directory.hint(target))
        pins = {pin: target or "" for pin, target in one.pins.items()}
        found[name] = Profile(id=name, pins=pins, description=one.description)
    return found


def list_profiles(
    raw: Mapping[str, tuple[str, ...] | None], models: Iterable[str], places: Places
) -> dict[str, tuple[ModelId, ...]]:
    """The earliest form: only real ids count, unknown ones are skipped."""
    known = frozenset(models)
    found: dict[str, tuple[ModelId, ...]] = {}
    for name, members in raw.items():
        for member in members or ():
            if member not in known:
                message = f"{member!r} is not a model, left out"
                places.warn(("(list profiles)", name), message, nearest(member, known))
        found[name] = tuple(ModelId(m) for m in dict.fromkeys(members or ()) if m in known)
    return found


def preload(wanted: tuple[str, ...], directory: Directory, places: Places) -> tuple[ModelId, ...]:
    """Real ids in the order of the file; unknown names are left out."""
    found: list[ModelId] = []
    for index, name in enumerate(wanted):
        real = directory.local(name.strip())
        if real is not None:
            found.append(real)
        elif name.strip():
            path = ("hooks", "on_startup", "preload", index)
            message = f"{name.strip()!r} is not a local model, left out"
            places.warn(path, message, directory.hint(name.strip()))
    return tuple(found)
