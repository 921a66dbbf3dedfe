"""Resolves a request's model name to a model of this server or of a peer.

Guarantees: names are only looked up, in tables made once from the configuration: the active
profile's pin, then a selector, then a model or an alias, then a peer's model. No text of a client
becomes part of a path or a command.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING
from urllib.parse import unquote

from modelswap.deferred import dataclass, regex

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from modelswap.core.spec import ModelId

_SEPARATOR = regex("/")
_ENCODED_SEPARATOR = regex("/|%2[fF]")


@dataclass(frozen=True, slots=True)
class LocalTarget:
    model: ModelId
    requested: str
    """The name after pin and selector; filters are configured by it."""
    rewrite: str | None = None
    """What `model` in the request has to become; `None`: it stays as it is."""
    selector: str | None = None


@dataclass(frozen=True, slots=True)
class PeerTarget:
    peer: str
    model: str
    requested: str
    rewrite: str | None = None
    selector: str | None = None


@dataclass(frozen=True, slots=True)
class Off:
    """The active profile switches this name off."""

    requested: str


@dataclass(frozen=True, slots=True)
class NoTarget:
    """No target of the selector can be used now."""

    selector: str


@dataclass(frozen=True, slots=True)
class Unknown:
    requested: str


Target = LocalTarget | PeerTarget
Resolution = Target | Off | NoTarget | Unknown
Select = Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class PathMatch:
    """A path that begins with a name."""

    name: str
    """As the client wrote it, decoded."""
    target: Target | Off
    rest: str
    """The remaining path, encoded as it was given; begins with `/` or is empty."""


class Names:
    """All names of one configuration; immutable."""

    def __init__(
        self,
        *,
        models: Collection[ModelId],
        aliases: Mapping[str, ModelId],
        peers: Mapping[str, Iterable[str]] | None = None,
        selectors: Mapping[str, Iterable[str]] | None = None,
        profiles: Mapping[str, Mapping[str, str]] | None = None,
        legacy_profiles: Mapping[str, Iterable[ModelId]] | None = None,
    ) -> None:
        self._plain: dict[str, Target] = {}
        self._add_locals(models, aliases)
        self._add_peers(peers or {})
        self._add_legacy(legacy_profiles or {})
        self._selected = {
            selector: {target: self._rewritten(target, selector) for target in targets}
            for selector, targets in (selectors or {}).items()
        }
        self._pinned = {
            profile: {name: self._pin(name, target) for name, target in pins.items()}
            for profile, pins in (profiles or {}).items()
        }
        every_name = chain(self._plain, *self._pinned.values())
        self._depth = max((name.count("/") + 1 for name in every_name), default=1)

    def resolve(self, name: str, active_profile: str | None, select: Select) -> Resolution:
        """Resolve a name; `select` gets a selector's id and gives one of its targets, or `None`."""
        if active_profile is not None:
            pin = self._pinned.get(active_profile, {}).get(name)
            if pin is not None:
                return self._select(pin, select) if isinstance(pin, str) else pin
        if name in self._selected:
            return self._select(name, select)
        return self._plain.get(name) or Unknown(name)

    def __iter__(self) -> Iterator[str]:
        """Yield every name without any profile: of models, aliases, peers' models and selectors."""
        return chain(self._plain, self._selected)

    def lookup(self, name: str) -> Target | None:
        """Find a model, an alias or a peer's model; no pins, no selectors."""
        return self._plain.get(name)

    def is_known(self, name: str) -> bool:
        """Tell whether a name stands for something without any profile."""
        return name in self._plain or name in self._selected

    def split_path(
        self, path: str, active_profile: str | None = None, *, is_encoded: bool = False
    ) -> PathMatch | None:
        """Find the longest name at the beginning of a path; selectors do not count.

        In an encoded path `a%2Fb` matches `a/b`, and the rest keeps its escapes.
        """
        pins = self._pinned.get(active_profile, {}) if active_profile is not None else {}
        tables: tuple[Mapping[str, Target | Off | Unknown | str], ...] = (pins, self._plain)
        beginnings = [*_beginnings(path, self._depth, is_encoded=is_encoded)]
        for table in tables:
            for name, end in reversed(beginnings):
                target = table.get(name)
                if isinstance(target, str | Unknown):
                    return None
                if target is not None:
                    rest = path[end:]
                    is_escaped = rest.startswith("%")
                    return PathMatch(name, target, "/" + rest[len("%2F") :] if is_escaped else rest)
        return None

    def _select(self, selector: str, select: Select) -> Resolution:
        chosen = select(selector)
        if chosen is None:
            return NoTarget(selector)
        return self._selected[selector].get(chosen) or Unknown(chosen)

    def _rewritten(self, name: str, selector: str | None = None) -> Target | Unknown:
        """Resolve a name that the proxy, not the client, puts into the request."""
        target = self._plain.get(name)
        if target is None:
            return Unknown(name)
        rewrite = name if target.rewrite is None else target.rewrite
        return replace(target, rewrite=rewrite, selector=selector)

    def _pin(self, name: str, target: str) -> Target | Off | Unknown | str:
        if not target:
            return Off(name)
        return target if target in self._selected else self._rewritten(target)

    def _add_locals(self, models: Collection[ModelId], aliases: Mapping[str, ModelId]) -> None:
        self._plain.update({model: LocalTarget(model, model) for model in models})
        for alias, model in aliases.items():
            if alias:
                self._plain.setdefault(alias, LocalTarget(model, alias))
        self._plain.pop("", None)

    def _add_peers(self, peers: Mapping[str, Iterable[str]]) -> None:
        bare: dict[str, set[str]] = {}
        for peer, offered in peers.items():
            for model in offered:
                name = f"{peer}/{model}"
                self._plain.setdefault(name, PeerTarget(peer, model, name, rewrite=model))
                bare.setdefault(model, set()).add(peer)
        for model, owners in bare.items():
            if len(owners) == 1:
                self._plain.setdefault(model, PeerTarget(next(iter(owners)), model, model))

    def _add_legacy(self, profiles: Mapping[str, Iterable[ModelId]]) -> None:
        """Make `profile:model` known, and `profile/model`, which the first two releases used."""
        names: dict[ModelId, list[str]] = {}
        for name, target in self._plain.items():
            if isinstance(target, LocalTarget):
                names.setdefault(target.model, []).append(name)
        for profile, members in profiles.items():
            for model in members:
                for name in names.get(model, ()):
                    target = LocalTarget(model, name, rewrite=name)
                    self._plain.setdefault(f"{profile}:{name}", target)
                    self._plain.setdefault(f"{profile}/{name}", target)


def _beginnings(path: str, depth: int, *, is_encoded: bool) -> Iterable[tuple[str, int]]:
    """Yield `seg1`, `seg1/seg2`, … with the index where each ends; empty segments do not count."""
    separator = _ENCODED_SEPARATOR if is_encoded else _SEPARATOR
    pieces: list[str] = []
    start = 0
    while len(pieces) < depth and start <= len(path):
        cut = separator.search(path, start)
        end = cut.start() if cut else len(path)
        if end > start:
            pieces.append(unquote(path[start:end]) if is_encoded else path[start:end])
            yield "/".join(pieces), end
        start = cut.end() if cut else len(path) + 1
