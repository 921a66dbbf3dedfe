"""Names across the file: aliases, peers, selectors, profiles, preload.

Guarantees: a model id wins over an alias. Two meanings of one name are a mistake, unless llama-swap lets
one of them win.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from modelswap.config.messages.found_value import FoundValue
from modelswap.config.messages.hints import nearest
from modelswap.config.plan import PEER_TIMEOUTS, Peer, Profile, Selector
from modelswap.config.schema.field_types import values_of
from modelswap.config.schema.schema import PeerKeys, SelectorKeys
from modelswap.core.spec import IdleModel, ModelId
from modelswap.units import Seconds

from .api_keys import upstream_key
from .models import automatic_aliases, filters, timeouts, upstream_url

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

    from modelswap.config.messages.diagnostics import Diagnostics
    from modelswap.config.schema.schema import RawModel, RawPeer, RawProfile, RawSelector
    from modelswap.config.schema.schema_idle import RawOnIdle
    from modelswap.config.tree.node import Path

STRATEGIES: Final = ("warm", "pin", "spillover")


def aliases(
    models: Mapping[str, RawModel], diagnostics: Diagnostics, found: Container[str] = ()
) -> dict[str, ModelId]:
    """Map aliases to models: the explicit ones first, then those of `setParamsByID`.

    Of the models that were found on disk a name that is taken is left out: a template's name may fit
    one more of them at any time.
    """
    taken: dict[str, ModelId] = {}
    for name, raw in models.items():
        for index, alias in enumerate(raw.aliases):
            path = ("models", name, "aliases", index)
            if alias in models and alias != name:
                what, then = "a name that is no model's id", "which goes to that model"
                diagnostics.tolerated(path, what, then, value=alias)
            if alias in taken:
                what = f"expected an alias of one model; found {alias!r} of {taken[alias]!r}, too"
                _clash(path, what, "the alias is given twice", diagnostics, is_found=name in found)
            taken.setdefault(alias, ModelId(name))
    for name, raw in models.items():
        for alias in automatic_aliases(name, raw):
            place: Path = ("models", name, "filters", "setParamsByID", alias)
            owner = taken.get(alias)
            if alias in models:
                what = f"expected a free name; found another model's: {alias!r}"
                _clash(place, what, "", diagnostics, is_found=name in found)
            elif owner is not None and owner in found and name not in found:
                taken[alias] = ModelId(name)
            elif taken.setdefault(alias, ModelId(name)) != name:
                what = f"expected a free name; found an alias of {taken[alias]!r}: {alias!r}"
                _clash(place, what, "", diagnostics, is_found=name in found)
    return {alias: model for alias, model in taken.items() if alias not in models}


def _clash(path: Path, what: str, hint: str, diagnostics: Diagnostics, *, is_found: bool) -> None:
    if is_found:
        diagnostics.warn(path, what, hint, then="left out")
    else:
        diagnostics.problem(path, what, hint)


def peers(raw: Mapping[str, RawPeer | None], diagnostics: Diagnostics) -> dict[str, Peer]:
    """Return the peers; each needs an address and models."""
    found: dict[str, Peer] = {}
    for name, one in raw.items():
        path: Path = ("peers", name)
        if one is None:
            diagnostics.warn(path, "expected a mapping with proxy and models; found null, left out")
            continue
        if not one.proxy:
            what = "the URL of the other server: a peer needs a proxy"
            diagnostics.expected((*path, "proxy"), what)
        if not one.models:
            what = "expected at least one model: a peer needs a list of models; found none"
            diagnostics.problem((*path, "models"), what)
        found[name] = Peer(
            id=name,
            proxy=upstream_url(one.proxy, (*path, "proxy"), diagnostics, strict=True),
            models=tuple(dict.fromkeys(one.models)),
            api_key=upstream_key(one.api_key, (*path, "apiKey"), diagnostics),
            filters=filters(one.filters),
            timeouts=timeouts(one.timeouts, PEER_TIMEOUTS, path, diagnostics),
            **values_of(one, PeerKeys),
        )
    return found


class NameIndex:
    def __init__(
        self,
        models: Iterable[str],
        alias_of: Mapping[str, ModelId],
        offered: Mapping[str, Peer],
        *,
        may_change: bool = False,
    ) -> None:
        """`may_change`: models come and go on disk, so an unknown name is no mistake."""
        self.may_change = may_change
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


def report_unknown(
    place: Path, what: str, name: str, names: NameIndex, diagnostics: Diagnostics
) -> None:
    """Report a name that stands for nothing: a mistake, unless its file may come back."""
    seen, hint = FoundValue("", name), names.hint(name)
    if names.may_change:
        diagnostics.warn(place, f"expected {what}", hint, seen=seen, then="left out")
    else:
        diagnostics.problem(place, f"expected {what}", hint, seen=seen)


def check_peer_names(
    names: NameIndex, offered: Mapping[str, Peer], diagnostics: Diagnostics
) -> None:
    """Report each `peer/model` that also means something else."""
    for peer in offered.values():
        _check_edited_names(peer, names, diagnostics)
        for model in peer.models:
            name = f"{peer.id}/{model}"
            path: Path = ("peers", peer.id, "models")
            other = names.qualified[name]
            if other != peer.id:
                what = f"expected a free name; found {name!r} of peer {other!r}, too"
                diagnostics.problem(path, what)
            if names.local(name) is not None:
                diagnostics.problem(path, f"expected a free name; found a local model's: {name!r}")


def _check_edited_names(peer: Peer, names: NameIndex, diagnostics: Diagnostics) -> None:
    """Report names in a peer's `setParamsByID` that are none of its models."""
    for name in peer.filters.set_by_id:
        is_bare = name in peer.models and name in names.bare
        is_own = is_bare and names.local(name) is None
        if not is_own and names.qualified.get(name) != peer.id:
            path: Path = ("peers", peer.id, "filters", "setParamsByID", name)
            known = [*peer.models, *(f"{peer.id}/{model}" for model in peer.models)]
            what = "expected a name by which a model of this peer is asked for"
            seen, then = FoundValue("", name), "which has no effect"
            diagnostics.warn(path, what, nearest(name, known), seen=seen, then=then)


def selectors(
    raw: Mapping[str, RawSelector | None], names: NameIndex, diagnostics: Diagnostics
) -> dict[str, Selector]:
    """Return the selectors; a target is never another selector."""
    found: dict[str, Selector] = {}
    for name, one in raw.items():
        path: Path = ("selectors", name)
        if not name.strip():
            diagnostics.problem(path, "expected a selector's name; found a blank one")
        if names.local(name) is not None or name in names.qualified:
            diagnostics.problem(path, f"expected a free name; found a model's: {name!r}")
        if one is None:
            diagnostics.problem(path, "expected a mapping with strategy and targets; found null")
            continue
        _check_selector(one, path, raw, names, diagnostics)
        chosen = Selector(id=name, spillover=one.settings.spillover, **values_of(one, SelectorKeys))
        if names.may_change:
            there = tuple(target for target in one.targets if names.is_known(target))
            chosen = replace(chosen, targets=there)
        if chosen.targets or not names.may_change:
            found[name] = chosen
    return found


def _check_selector(
    one: RawSelector,
    path: Path,
    selectors_: Mapping[str, RawSelector | None],
    names: NameIndex,
    diagnostics: Diagnostics,
) -> None:
    if one.strategy not in STRATEGIES:
        hint = nearest(one.strategy, STRATEGIES)
        diagnostics.expected((*path, "strategy"), f"one of {', '.join(STRATEGIES)}", hint)
    if not one.targets:
        diagnostics.problem((*path, "targets"), "expected at least one target; found none")
    if one.strategy == "spillover" and one.settings.spillover < 1:
        diagnostics.expected((*path, "settings", "spillover"), "a whole number of at least 1")
    seen: set[str] = set()
    for index, target in enumerate(one.targets):
        place = (*path, "targets", index)
        real = names.local(target)
        what = "a model, an alias or a peer's model"
        if target in selectors_ and not names.is_known(target):
            message = f"expected {what}; found {target!r}, a selector itself"
            diagnostics.problem(place, message, names.hint(target))
        elif not names.is_known(target):
            report_unknown(place, what, target, names, diagnostics)
        elif one.strategy == "warm" and real is None:
            message = f"expected a local model for warm; found a peer's: {target!r}"
            diagnostics.problem(place, message)
        if one.strategy == "spillover" and (real or target) in seen:
            message = f"expected another model; found the one of an earlier target: {target!r}"
            diagnostics.problem(place, message)
        seen.add(real or target)


def profiles(
    raw: Mapping[str, RawProfile | None],
    selectors_: Mapping[str, Selector],
    names: NameIndex,
    diagnostics: Diagnostics,
) -> dict[str, Profile]:
    """Return the sets of pins; a pin is never the target of another."""
    found: dict[str, Profile] = {}
    for name, one in raw.items():
        path: Path = ("profiles", name)
        if not name.strip():
            diagnostics.problem(path, "expected a profile's name; found a blank one")
        if one is None or not one.pins:
            if not diagnostics.report.is_wrong((*path, "pins")):
                diagnostics.problem(path, "expected at least one pin in pins; found none")
            continue
        for pin, target in one.pins.items():
            place = (*path, "pins", pin)
            if not pin.strip():
                diagnostics.problem(place, "expected a pin's name; found a blank one")
            if pin in names.qualified:
                diagnostics.problem(place, f"expected a free name; found a peer's model: {pin!r}")
            if target and not names.is_known(target) and target not in selectors_:
                what = "a model, an alias, a peer's model or a selector"
                report_unknown(place, what, target, names, diagnostics)
        pins = {pin: target or "" for pin, target in one.pins.items()}
        found[name] = Profile(id=name, pins=pins, description=one.description)
    return found


def list_profiles(
    raw: Mapping[str, tuple[str, ...] | None], models: Iterable[str], diagnostics: Diagnostics
) -> dict[str, tuple[ModelId, ...]]:
    """Return the profiles of the earliest form: only model ids count, unknown ones are left out."""
    known = frozenset(models)
    found: dict[str, tuple[ModelId, ...]] = {}
    for name, members in raw.items():
        for member in members or ():
            if member not in known:
                seen, hint = FoundValue("", member), nearest(member, known)
                path = ("(list profiles)", name)
                diagnostics.warn(path, "expected a model", hint, seen=seen, then="left out")
        found[name] = tuple(ModelId(m) for m in dict.fromkeys(members or ()) if m in known)
    return found


def preload(
    wanted: tuple[str, ...], names: NameIndex, diagnostics: Diagnostics
) -> tuple[ModelId, ...]:
    """Return model ids in the order of the file; unknown names are left out."""
    found: list[ModelId] = []
    for index, name in enumerate(wanted):
        real = names.local(name.strip())
        if real is not None:
            found.append(real)
        elif name.strip():
            path = ("hooks", "on_startup", "preload", index)
            if not diagnostics.report.is_misindented(name.strip()):
                hint = names.hint(name.strip())
                diagnostics.tolerated(path, "a local model", "left out", hint, value=name.strip())
    return tuple(found)


def idle_model(
    raw: RawOnIdle | None, names: NameIndex, diagnostics: Diagnostics
) -> IdleModel | None:
    """Return which model is loaded when none is used, and after how long."""
    if raw is None:
        return None
    path, name = ("hooks", "on_idle", "model"), raw.model.strip()
    real = names.local(name)
    if real is not None:
        return IdleModel(real, Seconds(raw.after))
    if not name:
        diagnostics.problem(path, "expected the model to load; found none")
    elif not diagnostics.report.is_misindented(name):
        report_unknown(path, "a local model", name, names, diagnostics)
    return None
